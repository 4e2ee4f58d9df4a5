//! Which files of a log are read, in which order, and from where. Reads nothing, so that its tests are a table.
//!
//! A log is a name whose file is replaced from time to time: `0.log` becomes `0.log.20260115-100000`, later
//! `0.log.20260115-100000.gz`, later nothing. What was not delivered of a generation is found again by inode or
//! fingerprint under whatever name it has now, and everything newer is read after it.

use serde::{Deserialize, Serialize};

use super::identity::{Identity, Inode};

/// A generation that is not delivered whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// Which file.
    pub identity: Identity,
    /// Bytes (of the content) that need not be read again.
    pub offset: u64,
}

/// A file that belongs to a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// File name.
    pub name: String,
    /// Device and inode.
    pub inode: Inode,
    /// First bytes of its content.
    pub head: Vec<u8>,
}

/// A file to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Place among the candidates.
    pub idx: usize,
    /// Where to begin.
    pub offset: u64,
    /// It continues a generation that was begun.
    pub is_known: bool,
}

/// How a rotated file is named: what orders it among its siblings, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rotation {
    /// `name.3`: higher is older.
    Number(std::cmp::Reverse<u32>),
    /// `name.20260115-100000` (kubelet), `name-20260115` (logrotate).
    Date(String),
}

/// How `sibling` was rotated from `name`, and whether it is compressed; `None`: it was not.
pub fn rotation(name: &str, sibling: &str) -> Option<(Rotation, bool)> {
    let rest = sibling.strip_prefix(name)?;
    let (separator, suffix) = (rest.chars().next()?, rest.get(1..)?);
    let (suffix, is_compressed) = match suffix.strip_suffix(".gz") {
        Some(suffix) => (suffix, true),
        None => (suffix, false),
    };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let date = suffix.split_once('-').map_or(suffix, |(date, _)| date);
    let is_date = is_digits(date) && date.len() == 8 && suffix.split_once('-').is_none_or(|(_, rest)| is_digits(rest));
    match separator {
        '.' | '-' if is_date => Some((Rotation::Date(suffix.to_owned()), is_compressed)),
        '.' if is_digits(suffix) && suffix.len() <= 4 => {
            Some((Rotation::Number(std::cmp::Reverse(suffix.parse().ok()?)), is_compressed))
        }
        _ => None,
    }
}

/// Plans what to read.
///
/// `candidates` are the log's files, oldest first, the current one last (if there is one). `done` are generations that
/// were delivered whole. `wants_history`: a log that was never seen is read with its rotated files.
pub fn plan_generations(
    unfinished: &[Unfinished],
    done: &[Identity],
    candidates: &[Candidate],
    wants_history: bool,
) -> Vec<Planned> {
    let find = |identity: &Identity| {
        let fits = |candidate: &&Candidate| identity.fingerprint.fits(&candidate.head);
        let same_inode = candidates.iter().position(|c| c.inode == identity.inode && fits(&c));
        // An empty beginning fits everything: without the inode it tells nothing.
        let by_content = || candidates.iter().position(|c| fits(&c)).filter(|_| identity.fingerprint.len > 0);
        same_inode.or_else(by_content)
    };
    let known: Vec<(usize, u64)> = unfinished.iter().filter_map(|u| Some((find(&u.identity)?, u.offset))).collect();
    let delivered: Vec<usize> = done.iter().filter_map(find).collect();
    let newest_known = known.iter().map(|(idx, _)| *idx).chain(delivered.iter().copied()).max();
    let was_seen = !unfinished.is_empty() || !done.is_empty();
    let first_new = match newest_known {
        Some(idx) => idx + 1,
        // All that was known is gone: whatever is left came later.
        None if was_seen || wants_history => 0,
        None => candidates.len().saturating_sub(1),
    };
    let mut plan = Vec::new();
    for idx in 0..candidates.len() {
        match known.iter().find(|(known, _)| *known == idx) {
            Some(&(idx, offset)) => plan.push(Planned { idx, offset, is_known: true }),
            None if idx >= first_new && !delivered.contains(&idx) => {
                plan.push(Planned { idx, offset: 0, is_known: false });
            }
            None => {}
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::identity::Fingerprint;

    fn inode(inode: u64) -> Inode {
        Inode { device: 1, inode }
    }

    fn identity(number: u64, content: &str) -> Identity {
        Identity { inode: inode(number), fingerprint: Fingerprint::of(content.as_bytes()) }
    }

    /// Files as (inode, content), oldest first; `want` as (place, offset).
    #[track_caller]
    fn check(
        unfinished: &[(u64, &str, u64)],
        done: &[(u64, &str)],
        files: &[(u64, &str)],
        wants_history: bool,
        want: &[(usize, u64)],
    ) {
        let unfinished: Vec<Unfinished> =
            unfinished.iter().map(|(i, c, offset)| Unfinished { identity: identity(*i, c), offset: *offset }).collect();
        let done: Vec<Identity> = done.iter().map(|(i, c)| identity(*i, c)).collect();
        let files: Vec<Candidate> = files
            .iter()
            .map(|(i, c)| Candidate { name: String::new(), inode: inode(*i), head: c.as_bytes().to_vec() })
            .collect();
        let plan = plan_generations(&unfinished, &done, &files, wants_history);
        assert_eq!(plan.iter().map(|p| (p.idx, p.offset)).collect::<Vec<_>>(), want);
    }

    #[test]
    fn plans() {
        // Never seen: the current file alone, or with its history.
        check(&[], &[], &[(1, "a"), (2, "b")], false, &[(1, 0)]);
        check(&[], &[], &[(1, "a"), (2, "b")], true, &[(0, 0), (1, 0)]);
        check(&[], &[], &[], true, &[]);
        // Nothing happened; the file grew.
        check(&[(2, "b", 7)], &[], &[(1, "a"), (2, "bc")], false, &[(1, 7)]);
        // Rotated once, rotated often: oldest first.
        check(&[(2, "b", 7)], &[], &[(1, "a"), (2, "b"), (3, "c")], false, &[(1, 7), (2, 0)]);
        check(&[(1, "a", 7)], &[], &[(1, "a"), (2, "b"), (3, "c")], false, &[(0, 7), (1, 0), (2, 0)]);
        // Compressed meanwhile: another inode, the same content.
        check(&[(1, "a", 7)], &[], &[(9, "a"), (2, "b")], false, &[(0, 7), (1, 0)]);
        // A compressed generation that was delivered is not read again.
        check(&[(2, "b", 1)], &[(1, "a")], &[(9, "a"), (2, "b")], false, &[(1, 1)]);
        check(&[], &[(1, "a")], &[(9, "a"), (2, "b"), (3, "c")], false, &[(1, 0), (2, 0)]);
        // The inode was used again for another content.
        check(&[(2, "b", 7)], &[], &[(2, "x")], false, &[(0, 0)]);
        // What was known is gone: everything left is newer.
        check(&[(1, "a", 7)], &[], &[(2, "b"), (3, "c")], false, &[(0, 0), (1, 0)]);
        // An empty file is known by its inode alone.
        check(&[(1, "", 0)], &[], &[(1, "abc")], false, &[(0, 0)]);
        check(&[(1, "", 0)], &[], &[(5, "x"), (2, "abc")], false, &[(0, 0), (1, 0)]);
        // Copied and cut: the copy has the content, the inode has a new one.
        check(&[(1, "a", 7)], &[], &[(5, "a"), (1, "n")], false, &[(0, 7), (1, 0)]);
    }

    #[test]
    fn knows_rotated_names() {
        use std::cmp::Reverse;
        #[track_caller]
        fn check(sibling: &str, want: Option<(Rotation, bool)>) {
            assert_eq!(rotation("0.log", sibling), want, "{sibling}");
        }
        check("0.log.20260115-100000", Some((Rotation::Date("20260115-100000".to_owned()), false)));
        check("0.log.20260115-100000.gz", Some((Rotation::Date("20260115-100000".to_owned()), true)));
        check("0.log-20260115", Some((Rotation::Date("20260115".to_owned()), false)));
        check("0.log.2.gz", Some((Rotation::Number(Reverse(2)), true)));
        check("0.log.20260115-100000.tmp", None);
        check("0.log", None);
        check("0.log.bak", None);
        check("10.log", None);
        assert!(Rotation::Number(Reverse(3)) < Rotation::Number(Reverse(1)));
    }
}
