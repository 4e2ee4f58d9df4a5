//! Which files of a log are read, in which order, and from where. Reads nothing, so that its tests are a table.
//!
//! A log is a name whose file is replaced from time to time: `0.log` becomes `0.log.20260115-100000`, later
//! `0.log.20260115-100000.gz`, later nothing. What was not delivered of a generation is found again by inode or
//! fingerprint under whatever name it has now, and everything newer is read after it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::identity::{Fingerprint, HEAD_BYTES_MAX, Identity, Inode};

/// A generation, and how much of it is delivered.
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
    /// Device and inode.
    pub inode: Inode,
    /// First bytes of its content.
    pub head: Vec<u8>,
    /// Bytes of its content; `None` for compressed files.
    pub len: Option<u64>,
    /// It has the log's name, and was not renamed.
    pub is_current: bool,
    /// ns since the epoch of the last write.
    pub modified_ns: i64,
}

/// Where a planned file is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It is new.
    No,
    /// Place among the unfinished generations.
    Unfinished(usize),
    /// Place among the delivered generations: it has grown since.
    Done(usize),
}

/// A file to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Place among the candidates.
    pub idx: usize,
    /// Where to begin.
    pub offset: u64,
    /// Where it is known from.
    pub known: Known,
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

/// The paths that `path` can have been rotated from.
pub fn originals(path: &Path) -> impl Iterator<Item = PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let ends = name.char_indices().filter(|(at, c)| matches!(c, '.' | '-') && *at > 0).map(|(at, _)| at);
    let names = ends.map(|end| &name[..end]).filter(|original| rotation(original, name).is_some());
    names.map(|original| path.with_file_name(original))
}

/// Plans what to read.
///
/// `candidates` are the log's files, oldest first, the current one last (if there is one). `done` are generations that
/// were delivered whole. A log that was never seen is read with the files that were rotated at `history_ns` (since the
/// epoch) or later.
pub fn plan_generations(
    unfinished: &[Unfinished],
    done: &[Unfinished],
    candidates: &[Candidate],
    history_ns: i64,
) -> Vec<Planned> {
    let (known, lost) = assign(unfinished.iter().chain(done), candidates);
    // A current file that was empty when it was last seen says nothing of its age: it may have been filled, copied and
    // cut since. What is newer than the newest rotated file that is known came after it.
    let is_blank = |place: usize| unfinished.get(place).is_some_and(|known| known.identity.fingerprint.len == 0);
    let blank =
        candidates.iter().zip(&known).find(|(candidate, known)| candidate.is_current && known.is_some_and(is_blank));
    let is_copy_of_blank = |candidate: &Candidate| {
        let Some((blank, _)) = blank else { return false };
        let len = candidate.head.len().min(blank.head.len());
        !candidate.is_current && len > 0 && candidate.head[..len] == blank.head[..len]
    };
    let is_telling = |(candidate, known): (&Candidate, &Option<usize>)| {
        known.is_some_and(|place| !(candidate.is_current && is_blank(place)))
    };
    let first_new = match candidates.iter().zip(&known).rposition(is_telling) {
        Some(idx) => idx + 1,
        // All that was known is gone: whatever is left came later.
        None if !unfinished.is_empty() || !done.is_empty() => 0,
        None => {
            let is_wanted = |candidate: &Candidate| candidate.is_current || candidate.modified_ns >= history_ns;
            candidates.iter().position(is_wanted).unwrap_or(candidates.len().saturating_sub(1))
        }
    };
    // Names have local time, which steps back once a year: an older name that was written later came later.
    let newest = first_new.checked_sub(1).map(|idx| &candidates[idx]).filter(|newest| !newest.is_current);
    let newest_ns = newest.map_or(i64::MAX, |newest| newest.modified_ns);
    let is_late = |idx: usize| idx < first_new && known[idx].is_none() && candidates[idx].modified_ns > newest_ns;
    let (late, before): (Vec<usize>, Vec<usize>) = (0..first_new).partition(|idx| is_late(*idx));
    let mut plan = Vec::new();
    for idx in before.iter().chain(&late).copied().chain(first_new..candidates.len()) {
        let candidate = &candidates[idx];
        match known[idx] {
            Some(place) if place < unfinished.len() => {
                // The same content may be known twice: cut in place while it was on its way, and its copy.
                let twins = lost.iter().filter_map(|place| unfinished.get(*place));
                let twins = twins.filter(|twin| twin.identity.fingerprint.len > 0 && !candidate.is_current);
                let twins = twins.filter(|twin| twin.identity.fingerprint.fits(&candidate.head));
                let offset = twins.map(|twin| twin.offset).fold(unfinished[place].offset, u64::min);
                plan.push(Planned { idx, offset, known: Known::Unfinished(place) });
            }
            Some(place) => {
                let place = place - unfinished.len();
                let offset = done[place].offset;
                if candidate.len.is_some_and(|len| len > offset) {
                    plan.push(Planned { idx, offset, known: Known::Done(place) });
                }
            }
            // It is being copied, and not cut yet.
            None if is_copy_of_blank(candidate) => {}
            None if idx >= first_new || is_late(idx) => plan.push(Planned { idx, offset: 0, known: Known::No }),
            None => {}
        }
    }
    plan
}

/// For each candidate the place of the generation that it is, and the generations that are none of them. A generation is
/// at most one candidate.
fn assign<'u>(
    generations: impl Iterator<Item = &'u Unfinished> + Clone,
    candidates: &[Candidate],
) -> (Vec<Option<usize>>, Vec<usize>) {
    let mut assigned: Vec<Option<usize>> = vec![None; candidates.len()];
    let mut is_found = vec![false; generations.clone().count()];
    let rules: [fn(&Identity, &Candidate) -> bool; 2] =
        [|identity, candidate| identity.inode.is_same_file(&candidate.inode), is_copy];
    for rule in rules {
        for (place, generation) in generations.clone().enumerate() {
            let identity = &generation.identity;
            let fits = |(idx, candidate): (usize, &Candidate)| {
                let is_free = assigned[idx].is_none();
                (is_free && rule(identity, candidate) && identity.fingerprint.fits(&candidate.head)).then_some(idx)
            };
            if !is_found[place]
                && let Some(idx) = candidates.iter().enumerate().find_map(fits)
            {
                assigned[idx] = Some(place);
                is_found[place] = true;
            }
        }
    }
    let lost = is_found.iter().enumerate().filter(|(_, is_found)| !**is_found).map(|(place, _)| place);
    (assigned, lost.collect())
}

/// True when a file that begins alike can be the same content under another inode: compressed, or copied before it was
/// cut. The current file never is, it may just begin with the same words; except that after a boot or a restored backup
/// the same disk can have another number, and then 1 KiB must do.
fn is_copy(identity: &Identity, candidate: &Candidate) -> bool {
    let Fingerprint { len, .. } = identity.fingerprint;
    match candidate.is_current {
        false => len > 0,
        true => len as usize == HEAD_BYTES_MAX && identity.inode.device != candidate.inode.device,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(inode: u64) -> Inode {
        Inode { device: 1, inode, born_ns: 0 }
    }

    fn identity(number: u64, content: &str) -> Identity {
        Identity { inode: inode(number), fingerprint: Fingerprint::of(content.as_bytes()) }
    }

    /// Files as (inode, content), oldest first, the last one is current; `want` as (place, offset). Delivered files were
    /// delivered to the end of their content.
    #[track_caller]
    fn check(
        unfinished: &[(u64, &str, u64)],
        done: &[(u64, &str)],
        files: &[(u64, &str)],
        history_ns: i64,
        want: &[(usize, u64)],
    ) {
        let unfinished: Vec<Unfinished> =
            unfinished.iter().map(|(i, c, offset)| Unfinished { identity: identity(*i, c), offset: *offset }).collect();
        let done: Vec<Unfinished> =
            done.iter().map(|(i, c)| Unfinished { identity: identity(*i, c), offset: c.len() as u64 }).collect();
        let file = |(idx, (number, content)): (usize, &(u64, &str))| Candidate {
            inode: inode(*number),
            head: content.as_bytes().to_vec(),
            len: Some(content.len() as u64),
            is_current: idx + 1 == files.len(),
            modified_ns: 0,
        };
        let files: Vec<Candidate> = files.iter().enumerate().map(file).collect();
        let plan = plan_generations(&unfinished, &done, &files, history_ns);
        assert_eq!(plan.iter().map(|p| (p.idx, p.offset)).collect::<Vec<_>>(), want);
    }

    #[test]
    fn plans() {
        // Never seen: the current file alone, or with its history.
        check(&[], &[], &[(1, "a"), (2, "b")], i64::MAX, &[(1, 0)]);
        check(&[], &[], &[(1, "a"), (2, "b")], 0, &[(0, 0), (1, 0)]);
        check(&[], &[], &[], 0, &[]);
        // Nothing happened; the file grew.
        check(&[(2, "b", 7)], &[], &[(1, "a"), (2, "bc")], i64::MAX, &[(1, 7)]);
        // Rotated once, rotated often: oldest first.
        check(&[(2, "b", 7)], &[], &[(1, "a"), (2, "b"), (3, "c")], i64::MAX, &[(1, 7), (2, 0)]);
        check(&[(1, "a", 7)], &[], &[(1, "a"), (2, "b"), (3, "c")], i64::MAX, &[(0, 7), (1, 0), (2, 0)]);
        // Compressed meanwhile: another inode, the same content.
        check(&[(1, "a", 7)], &[], &[(9, "a"), (2, "b")], i64::MAX, &[(0, 7), (1, 0)]);
        // A compressed generation that was delivered is not read again.
        check(&[(2, "b", 1)], &[(1, "a")], &[(9, "a"), (2, "b")], i64::MAX, &[(1, 1)]);
        check(&[], &[(1, "a")], &[(9, "a"), (2, "b"), (3, "c")], i64::MAX, &[(1, 0), (2, 0)]);
        // The inode was used again for another content.
        check(&[(2, "b", 7)], &[], &[(2, "x")], i64::MAX, &[(0, 0)]);
        // What was known is gone: everything left is newer.
        check(&[(1, "a", 7)], &[], &[(2, "b"), (3, "c")], i64::MAX, &[(0, 0), (1, 0)]);
        // An empty file is known by its inode alone.
        check(&[(1, "", 0)], &[], &[(1, "abc")], i64::MAX, &[(0, 0)]);
        check(&[(1, "", 0)], &[], &[(5, "x"), (2, "abc")], i64::MAX, &[(0, 0), (1, 0)]);
        // A new file that begins with the words of the old one, which is delivered and gone, or on its way.
        check(&[], &[(1, "start")], &[(2, "start")], i64::MAX, &[(0, 0)]);
        check(&[(1, "start", 5)], &[], &[(2, "start")], i64::MAX, &[(0, 0)]);
        check(&[(1, "start", 5)], &[], &[(1, "start"), (2, "start")], i64::MAX, &[(0, 5), (1, 0)]);
        // A delivered generation that somebody went on writing.
        check(&[(2, "b", 1)], &[(1, "a")], &[(1, "aa"), (2, "b")], i64::MAX, &[(0, 1), (1, 1)]);
        // Copied and cut while the content was on its way: the copy begins where the first of both has arrived.
        check(&[(1, "a", 3), (5, "a", 7), (1, "n", 0)], &[], &[(5, "a"), (1, "n")], i64::MAX, &[(0, 3), (1, 0)]);
        // Copied and cut: the copy has the content, the inode has a new one.
        check(&[(1, "a", 7)], &[], &[(5, "a"), (1, "n")], i64::MAX, &[(0, 7), (1, 0)]);
    }

    #[test]
    fn a_reused_inode_is_another_file() {
        let born = |born_ns| Inode { born_ns, ..inode(1) };
        let identity = |born_ns, content: &str| Identity {
            inode: born(born_ns),
            fingerprint: Fingerprint::of(content.as_bytes()),
        };
        let done = [Unfinished { identity: identity(10, ""), offset: 0 }];
        let current = |born_ns| Candidate {
            inode: born(born_ns),
            head: b"new".to_vec(),
            len: Some(3),
            is_current: true,
            modified_ns: 0,
        };
        let new = [Planned { idx: 0, offset: 0, known: Known::No }];
        assert_eq!(plan_generations(&[], &done, &[current(20)], i64::MAX), new);
        let grown = [Planned { idx: 0, offset: 0, known: Known::Done(0) }];
        assert_eq!(plan_generations(&[], &done, &[current(10)], i64::MAX), grown);
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
        let originals = |name: &str| originals(Path::new(name)).collect::<Vec<_>>();
        assert_eq!(originals("/a/app.log.1.gz"), [Path::new("/a/app.log")]);
        assert_eq!(originals("/a/0.log.20260115-100000"), [Path::new("/a/0.log")]);
        assert!(originals("/a/app.log").is_empty() && originals("/a/my-app.log").is_empty());
    }
}
