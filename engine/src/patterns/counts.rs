//! How many lines a pattern had: by day, and by slots of 10 seconds within it.

/// Seconds of a slot.
pub const SLOT_S: i64 = 10;
const SLOT_NS: i64 = SLOT_S * 1_000_000_000;
/// Slots of a day.
pub const SLOTS_PER_DAY: i64 = 86_400 / SLOT_S;

/// The day (since the epoch) and the slot within it of an instant.
pub fn place(ts_ns: i64) -> (i32, u32) {
    let slot = ts_ns.div_euclid(SLOT_NS);
    // A timestamp has 107,000 days at most, and a day 8,640 slots.
    (slot.div_euclid(SLOTS_PER_DAY) as i32, slot.rem_euclid(SLOTS_PER_DAY) as u32)
}

/// Unix seconds at which a slot begins.
pub fn slot_start_s(day: i32, slot: u32) -> i64 {
    (i64::from(day) * SLOTS_PER_DAY + i64::from(slot)) * SLOT_S
}

/// The lines of one pattern on one day. Slots ascend, none is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    slots: Vec<(u32, u32)>,
}

impl Counts {
    /// Counts of pairs of slot and number, as [`Self::iter`] gave them. `None` when they are not.
    pub fn new(slots: Vec<(u32, u32)>) -> Option<Self> {
        let is_sorted = slots.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let is_in_day = slots.last().is_none_or(|last| i64::from(last.0) < SLOTS_PER_DAY);
        (is_sorted && is_in_day).then_some(Self { slots })
    }

    /// Adds `count` lines. True when a slot was added for it.
    pub fn add(&mut self, slot: u32, count: u32) -> bool {
        let at = match self.slots.last_mut() {
            Some(last) if last.0 == slot => {
                last.1 = last.1.saturating_add(count);
                return false;
            }
            Some(last) if last.0 < slot => self.slots.len(),
            None => 0,
            // Late lines.
            Some(_) => match self.slots.binary_search_by_key(&slot, |known| known.0) {
                Ok(at) => {
                    self.slots[at].1 = self.slots[at].1.saturating_add(count);
                    return false;
                }
                Err(at) => at,
            },
        };
        self.slots.insert(at, (slot, count));
        true
    }

    /// Joins neighbours, so that slots begin at multiples of `width`. Answers how many there are fewer.
    pub fn coarsen(&mut self, width: u32) -> usize {
        let before = self.slots.len();
        for slot in &mut self.slots {
            slot.0 -= slot.0 % width;
        }
        self.slots.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            if is_same {
                kept.1 = kept.1.saturating_add(next.1);
            }
            is_same
        });
        self.slots.shrink_to_fit();
        before - self.slots.len()
    }

    /// Pairs of slot and number of lines.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, u32)> + '_ {
        self.slots.iter().copied()
    }

    /// Slots with lines.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True without lines.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_instants() {
        assert_eq!(place(0), (0, 0));
        assert_eq!(place(86_400_000_000_000 - 1), (0, 8639));
        assert_eq!(place(-1), (-1, 8639));
        assert_eq!(slot_start_s(place(1_768_471_209_000_000_000).0, place(1_768_471_209_000_000_000).1), 1_768_471_200);
    }

    #[test]
    fn counts_in_any_order() {
        let mut counts = Counts::default();
        for slot in [7, 9, 9, 8, 7, 1] {
            counts.add(slot, 2);
        }
        assert_eq!(counts.iter().collect::<Vec<_>>(), [(1, 2), (7, 4), (8, 2), (9, 4)]);
        assert_eq!(counts.coarsen(6), 2);
        assert_eq!(counts.iter().collect::<Vec<_>>(), [(0, 2), (6, 10)]);
        assert_eq!(Counts::new(vec![(0, 2), (6, 10)]), Some(counts));
        assert_eq!(Counts::new(vec![(6, 1), (6, 1)]), None);
        assert_eq!(Counts::new(vec![(8640, 1)]), None);
    }
}
