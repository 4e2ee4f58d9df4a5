//! A series over the steps of a grid: a float per step, and a bit that says whether the step has a point.

/// One value per step; a step without a point holds 0.0 and a cleared bit, so that loops need not look at the bit to
/// add columns up.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    values: Vec<f64>,
    present: Vec<u64>,
}

impl Column {
    /// A column of `len` steps without a point.
    pub fn absent(len: usize) -> Self {
        Self { values: vec![0.0; len], present: vec![0; len.div_ceil(64)] }
    }

    /// A column with `value` at each of `len` steps.
    pub fn filled(len: usize, value: f64) -> Self {
        let mut column = Self { values: vec![value; len], present: vec![u64::MAX; len.div_ceil(64)] };
        if !len.is_multiple_of(64)
            && let Some(last) = column.present.last_mut()
        {
            *last = (1 << (len % 64)) - 1;
        }
        column
    }

    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.values.len()
    }

    /// True when no step has a point.
    pub fn is_absent(&self) -> bool {
        self.present.iter().all(|&word| word == 0)
    }

    /// True when `step` has a point.
    pub fn has(&self, step: usize) -> bool {
        self.present[step / 64] >> (step % 64) & 1 == 1
    }

    /// The point at `step`.
    pub fn get(&self, step: usize) -> Option<f64> {
        self.has(step).then(|| self.values[step])
    }

    /// Sets the point at `step`.
    pub fn set(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        self.present[step / 64] |= 1 << (step % 64);
    }

    /// Removes the point at `step`.
    pub fn clear(&mut self, step: usize) {
        self.values[step] = 0.0;
        self.present[step / 64] &= !(1 << (step % 64));
    }

    /// The points in time order.
    pub fn points(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.present.iter().enumerate().flat_map(move |(word_idx, &word)| {
            Ones(word).map(move |bit| {
                let step = word_idx * 64 + bit;
                (step, self.values[step])
            })
        })
    }

    /// Number of points.
    pub fn point_count(&self) -> usize {
        self.present.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Replaces every point by what `f` makes of it; `None` removes it.
    pub fn map(&mut self, mut f: impl FnMut(f64) -> Option<f64>) {
        for step in 0..self.steps() {
            if let Some(value) = self.get(step) {
                match f(value) {
                    Some(value) => self.values[step] = value,
                    None => self.clear(step),
                }
            }
        }
    }

    /// Keeps the points at steps where `other` has one (`keep_shared`) or has none.
    pub fn retain_where(&mut self, other: &[u64], keep_shared: bool) {
        for (word_idx, word) in self.present.iter_mut().enumerate() {
            let mask = if keep_shared { other[word_idx] } else { !other[word_idx] };
            *word &= mask;
        }
        for step in 0..self.steps() {
            if !self.has(step) {
                self.values[step] = 0.0;
            }
        }
    }

    /// A bit per step.
    pub fn presence(&self) -> &[u64] {
        &self.present
    }

    /// Bytes that the column holds.
    pub fn size_bytes(len: usize) -> usize {
        len * 8 + len.div_ceil(64) * 8
    }
}

/// Indices of the set bits, ascending.
struct Ones(u64);

impl Iterator for Ones {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_come_back_in_order() {
        let mut column = Column::absent(130);
        assert!(column.is_absent());
        for step in [0, 63, 64, 129] {
            column.set(step, step as f64);
        }
        column.clear(64);
        assert_eq!(column.points().collect::<Vec<_>>(), [(0, 0.0), (63, 63.0), (129, 129.0)]);
        assert_eq!((column.get(64), column.point_count()), (None, 3));
    }

    #[test]
    fn filled_has_exactly_its_steps() {
        for len in [0, 1, 63, 64, 65, 200] {
            assert_eq!(Column::filled(len, 2.0).point_count(), len, "{len}");
        }
    }

    #[test]
    fn map_and_retain_remove_points() {
        let mut column = Column::filled(4, 3.0);
        column.set(2, -1.0);
        column.map(|v| (v > 0.0).then_some(v * 2.0));
        assert_eq!(column.points().collect::<Vec<_>>(), [(0, 6.0), (1, 6.0), (3, 6.0)]);
        let mut other = Column::absent(4);
        other.set(1, 0.0);
        let mut shared = column.clone();
        shared.retain_where(other.presence(), true);
        assert_eq!(shared.points().collect::<Vec<_>>(), [(1, 6.0)]);
        column.retain_where(other.presence(), false);
        assert_eq!(column.points().collect::<Vec<_>>(), [(0, 6.0), (3, 6.0)]);
    }
}
