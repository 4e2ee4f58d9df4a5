//! Which template each row of a block has, as it is on disk, and which of the template's rows it is.

use bytes::Bytes;

use super::super::error::{Error, Result, damaged};
use super::super::rowset::RowSet;

/// So many groups are looked for one after the other, if they have less than one row of [`SPARSE`]: looking for a byte is
/// far faster than counting the rows of all groups along, but not than handing out most of them.
const GROUPS_FEW: usize = 4;
/// If fewer than one row of so many is wanted, sorting them costs little.
const SPARSE: usize = 16;

/// For each row its group: the template's place in the block's directory.
pub(crate) struct Order {
    low: Bytes,
    /// The high bytes, in blocks of more than 256 groups.
    high: Option<Bytes>,
    /// Rows of each group.
    counts: Vec<usize>,
}

impl Order {
    /// From the byte planes of a block with groups of so many rows.
    pub(crate) fn read(encoding: u8, planes: Bytes, rows: usize, counts: Vec<usize>) -> Result<Self> {
        let order = match encoding {
            1 if planes.len() == rows => Self { low: planes, high: None, counts },
            2 if planes.len() == rows * 2 => {
                Self { low: planes.slice(..rows), high: Some(planes.slice(rows..)), counts }
            }
            1 | 2 => return Err(damaged("row order is missing")),
            id => return Err(Error::Unknown { what: "row order encoding", id }),
        };
        match order.count().is_some_and(|counts| counts == order.counts) {
            true => Ok(order),
            false => Err(damaged("row order disagrees with the directory")),
        }
    }

    /// Rows of each group; `None` if a row has a group that there is not.
    fn count(&self) -> Option<Vec<usize>> {
        if let Some(high) = &self.high {
            let mut counts = vec![0; self.counts.len()];
            for (&low, &high) in self.low.iter().zip(high) {
                *counts.get_mut(usize::from(u16::from_le_bytes([low, high])))? += 1;
            }
            return Some(counts);
        }
        // Neighbours often are of one group: with four counts each they do not wait for one another.
        let mut counts = [[0_u32; 256]; 4];
        let chunks = self.low.chunks_exact(4);
        let rest = chunks.remainder();
        for chunk in chunks {
            for (counts, &group) in counts.iter_mut().zip(chunk) {
                counts[usize::from(group)] += 1;
            }
        }
        for &group in rest {
            counts[0][usize::from(group)] += 1;
        }
        let mut sums: Vec<usize> =
            (0..256).map(|group| counts.iter().map(|counts| counts[group] as usize).sum()).collect();
        if sums.iter().skip(self.counts.len()).any(|&sum| sum > 0) {
            return None;
        }
        sums.resize(self.counts.len(), 0);
        Some(sums)
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.low.len()
    }

    /// The group of a row.
    #[inline]
    fn group(&self, row: usize) -> usize {
        let high = self.high.as_ref().map_or(0, |high| high[row]);
        usize::from(u16::from_le_bytes([self.low[row], high]))
    }

    /// The rows of a group, ascending.
    pub(crate) fn rows_of(&self, group: usize) -> impl Iterator<Item = usize> + '_ {
        let [low, high] = (group as u16).to_le_bytes();
        let has_high = move |row: &usize| self.high.as_ref().map_or(0, |planes| planes[*row]) == high;
        memchr::memchr_iter(low, &self.low).filter(has_high)
    }

    /// The groups that have rows in `rows`, marked.
    pub(crate) fn groups_of(&self, rows: &RowSet) -> Vec<bool> {
        let mut groups = vec![false; self.counts.len()];
        rows.iter().for_each(|row| groups[self.group(row)] = true);
        groups
    }

    /// Calls `each` for the rows of the groups that are marked, in any order, with the row, its group and its place among
    /// the rows of the group.
    pub(crate) fn each_of(&self, marked: &[bool], mut each: impl FnMut(usize, usize, usize)) {
        let groups = || marked.iter().enumerate().filter(|(_, marked)| **marked).map(|(group, _)| group);
        let rows: usize = groups().map(|group| self.counts[group]).sum();
        if groups().count() <= GROUPS_FEW && rows <= self.len() / SPARSE {
            for group in groups() {
                self.rows_of(group).enumerate().for_each(|(place, row)| each(row, group, place));
            }
            return;
        }
        let mut taken = vec![0; self.counts.len()];
        for row in 0..self.len() {
            let group = self.group(row);
            if marked[group] {
                each(row, group, taken[group]);
                taken[group] += 1;
            }
        }
    }

    /// Calls `each` for `rows`, ascending, as [`Self::each_of`] does.
    pub(crate) fn each(&self, rows: &RowSet, mut each: impl FnMut(usize, usize, usize)) {
        if rows.count() > self.len() / SPARSE {
            let mut taken = vec![0; self.counts.len()];
            for row in 0..self.len() {
                let group = self.group(row);
                if rows.contains(row) {
                    each(row, group, taken[group]);
                }
                taken[group] += 1;
            }
            return;
        }
        let mut found = Vec::with_capacity(rows.count());
        self.each_of(&self.groups_of(rows), |row, group, place| {
            if rows.contains(row) {
                found.push((row, group, place));
            }
        });
        found.sort_unstable();
        found.into_iter().for_each(|(row, group, place)| each(row, group, place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Group of each row, and planes as on disk.
    fn order_of(groups: &[u16], count: usize) -> Order {
        let mut planes: Vec<u8> = groups.iter().map(|group| group.to_le_bytes()[0]).collect();
        if count > 256 {
            planes.extend(groups.iter().map(|group| group.to_le_bytes()[1]));
        }
        let rows: Vec<usize> =
            (0..count).map(|group| groups.iter().filter(|other| usize::from(**other) == group).count()).collect();
        Order::read(if count > 256 { 2 } else { 1 }, planes.into(), groups.len(), rows).unwrap()
    }

    /// Whatever way is taken, each row has its group and its place.
    #[test]
    fn rows_have_places() {
        for count in [1, 3, 40, 256, 257, 700] {
            let groups: Vec<u16> = (0..3000_usize).map(|row| (row * row % 977 % count) as u16).collect();
            let order = order_of(&groups, count);
            for group in 0..count {
                let want = (0..groups.len()).filter(|row| usize::from(groups[*row]) == group);
                assert!(order.rows_of(group).eq(want), "group {group} of {count}");
            }
            let place = |row: usize| groups[..row].iter().filter(|other| **other == groups[row]).count();
            // The last one takes rows of few groups, which others share their low byte with.
            for step in [1, 7, 500, 1500] {
                let mut rows = RowSet::full(groups.len());
                rows.retain(|row| row % step == 0);
                let mut got = Vec::new();
                order.each(&rows, |row, group, place| got.push((row, group, place)));
                let want: Vec<_> = rows.iter().map(|row| (row, usize::from(groups[row]), place(row))).collect();
                assert_eq!(got, want, "{count} groups, one row of {step}");
            }
        }
    }

    #[test]
    fn refuses_what_the_directory_does_not_say() {
        let read = |encoding, planes: &'static [u8], rows, group_rows: &[usize]| {
            Order::read(encoding, Bytes::from_static(planes), rows, group_rows.to_vec())
                .map(drop)
                .map_err(|err| err.to_string())
        };
        assert_eq!(read(1, &[0, 1, 1], 3, &[1, 2]), Ok(()));
        assert_eq!(read(2, &[0, 1, 1, 0, 0, 0], 3, &[1, 2]), Ok(()));
        assert!(read(1, &[0, 1, 2], 3, &[1, 2]).unwrap_err().contains("disagrees"));
        assert!(read(1, &[0, 1, 2], 3, &[1, 1]).unwrap_err().contains("disagrees"));
        assert!(read(2, &[0, 1, 1, 0, 0, 1], 3, &[1, 2]).unwrap_err().contains("disagrees"));
        assert!(read(1, &[0, 1], 3, &[1, 2]).unwrap_err().contains("missing"));
        assert!(read(3, &[0, 1, 1], 3, &[1, 2]).unwrap_err().contains("encoding"));
    }
}
