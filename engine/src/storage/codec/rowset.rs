//! A set of rows of one block: a bit for each row.

/// Rows `0..len` of a block, each in or out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowSet {
    words: Vec<u64>,
    len: usize,
}

impl RowSet {
    /// No row of `len`.
    pub fn empty(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// All rows of `len`.
    pub fn full(len: usize) -> Self {
        let mut set = Self { words: vec![!0; len.div_ceil(64)], len };
        set.trim();
        set
    }

    /// The rows of `range` out of `len`.
    pub fn range(len: usize, range: std::ops::Range<usize>) -> Self {
        let mut set = Self::empty(len);
        set.insert_range(range);
        set
    }

    /// Bits beyond `len` stay zero: counts and iteration rely on it.
    fn trim(&mut self) {
        let tail = self.len % 64;
        if tail != 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << tail) - 1;
        }
    }

    /// Number of rows that could be in the set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when no row is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&w| w == 0)
    }

    /// Number of rows in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// True when `row` is in the set.
    #[inline]
    pub fn contains(&self, row: usize) -> bool {
        self.words[row / 64] >> (row % 64) & 1 == 1
    }

    /// Adds `row`.
    #[inline]
    pub fn insert(&mut self, row: usize) {
        debug_assert!(row < self.len);
        self.words[row / 64] |= 1 << (row % 64);
    }

    /// Removes `row`.
    #[inline]
    pub fn remove(&mut self, row: usize) {
        self.words[row / 64] &= !(1 << (row % 64));
    }

    /// Adds the rows of `range`.
    pub fn insert_range(&mut self, range: std::ops::Range<usize>) {
        assert!(range.end <= self.len, "rows of the block");
        for row in range {
            self.insert(row);
        }
    }

    /// Keeps the rows that `other`, of the same length, holds too.
    pub fn intersect(&mut self, other: &Self) {
        debug_assert_eq!(self.len, other.len);
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    /// Adds the rows of `other`, of the same length.
    pub fn union(&mut self, other: &Self) {
        debug_assert_eq!(self.len, other.len);
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// Removes the rows of `other`, of the same length.
    pub fn subtract(&mut self, other: &Self) {
        debug_assert_eq!(self.len, other.len);
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= !other;
        }
    }

    /// The set of all other rows.
    pub fn complement(&mut self) {
        for word in &mut self.words {
            *word = !*word;
        }
        self.trim();
    }

    /// Empties the set.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Rows in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                Some(index * 64 + bit)
            })
        })
    }

    /// Removes the rows of which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        for index in 0..self.words.len() {
            let mut rest = self.words[index];
            while rest != 0 {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                if !keep(index * 64 + bit) {
                    self.words[index] &= !(1 << bit);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_behave_like_sets() {
        for len in [0, 1, 63, 64, 65, 200] {
            let full = RowSet::full(len);
            assert_eq!(full.count(), len);
            assert_eq!(full.iter().collect::<Vec<_>>(), (0..len).collect::<Vec<_>>());
            let mut even = full.clone();
            even.retain(|row| row % 2 == 0);
            let mut odd = full.clone();
            odd.subtract(&even);
            let mut other = even.clone();
            other.complement();
            assert_eq!(odd, other);
            odd.intersect(&even);
            assert!(odd.is_empty());
            other.union(&even);
            assert_eq!(other, full);
        }
        assert_eq!(RowSet::range(100, 10..13).iter().collect::<Vec<_>>(), [10, 11, 12]);
    }
}
