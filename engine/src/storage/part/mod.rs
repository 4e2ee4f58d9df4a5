//! A part: an immutable file with rows of one UTC day, written once, read by ranges.
//!
//! ```text
//! part   := "LSPART\0\x01" block* frame* footer
//! block  := rows of one stream, ascending in time, as `codec` encodes them; checksummed per section
//! frame  := zstd of one of: streams, directory, block metas, template dictionary, filter header; or filter rows as is
//! footer := body len:u32le xxh3(body):u64le "LSPEND\0\x01"          body says where the frames are, and their xxh3
//! ```
//!
//! Blocks are in the order of the streams table, which is sorted by tenant and labels; blocks of a stream are in the
//! order of time and overlap in no more than a timestamp. Rows are unique within a part. Reading the end of the file
//! gives everything else, so an object store serves a part as well as a disk.

mod check;
mod copy;
mod format;
mod reader;
mod writer;

pub use check::Depth;
pub use copy::CopySource;
pub use format::{Footer, PartId, level_id, level_of};
pub use reader::{BlockInfo, Caches, Part, PartBlock, PartDetail, PartStream, PartTenant};
pub use writer::{NewPart, PartWriter, Written};

use std::path::{Path, PathBuf};

use jiff::civil::Date;

use crate::model::TimeRange;

/// A UTC day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

/// Length of a day.
pub const DAY_NS: i64 = 86_400_000_000_000;

impl Day {
    /// The day of an instant.
    pub fn of(ts_ns: i64) -> Self {
        Self(ts_ns.div_euclid(DAY_NS) as i32)
    }

    /// First and last instant; the first and the last day that a timestamp can name are cut short.
    pub fn range(self) -> TimeRange {
        let first = i128::from(self.0) * i128::from(DAY_NS);
        let clamp = |ns: i128| ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        TimeRange { first_ns: clamp(first), last_ns: clamp(first + i128::from(DAY_NS) - 1) }
    }
}

impl Day {
    /// Inverse of its text.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(number) = text.strip_prefix("day") {
            return number.parse().ok().map(Self);
        }
        let date: Date = text.parse().ok()?;
        let span = date.since(Date::constant(1970, 1, 1)).ok()?;
        Some(Self(span.get_days()))
    }
}

/// `2026-11-22`
impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let days = jiff::Span::new().try_days(self.0);
        match days.and_then(|days| Date::constant(1970, 1, 1).checked_add(days)) {
            Ok(date) => write!(f, "{date}"),
            Err(_) => write!(f, "day{}", self.0),
        }
    }
}

/// `days/2026-11-22/000000000000002a.part`
pub fn part_path(days_dir: &Path, day: Day, id: PartId) -> PathBuf {
    days_dir.join(day.to_string()).join(format!("{:016x}.part", id.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_names_and_ends() {
        #[track_caller]
        fn check(ts_ns: i64, name: &str) {
            let day = Day::of(ts_ns);
            assert_eq!(day.to_string(), name, "{ts_ns}");
            assert!(day.range().contains(ts_ns), "{ts_ns} in {:?}", day.range());
            assert_eq!(Day::parse(name), Some(day));
        }
        check(0, "1970-01-01");
        check(-1, "1969-12-31");
        check(DAY_NS - 1, "1970-01-01");
        check(DAY_NS, "1970-01-02");
        check(1_795_305_600_000_000_000, "2026-11-22");
        check(i64::MAX, "2262-04-11");
        check(i64::MIN, "1677-09-21");
        assert_eq!(Day::parse("lost+found"), None);
    }
}
