//! The names under which a level is looked for, prepared so that most lines are told apart by single bytes.

/// `log_level_fields`, best first.
#[derive(Debug, Clone)]
pub struct LevelNames {
    names: Vec<Box<[u8]>>,
    /// Last bytes of all names, in both letter cases: a key that ends otherwise is none of them.
    last: [bool; 256],
    /// The same as lower-case letters, some repeated; `None` when they are too many or no letters.
    last_letters: Option<[u8; LAST_LETTERS]>,
}

/// Distinct last letters that are worth comparing one by one. The default names have three.
const LAST_LETTERS: usize = 4;

impl LevelNames {
    /// Prepares `names`; empty ones are left out.
    pub fn new(names: &[String]) -> Self {
        let names: Vec<Box<[u8]>> =
            names.iter().filter(|name| !name.is_empty()).map(|name| name.as_bytes().into()).collect();
        let mut last = [false; 256];
        for byte in names.iter().filter_map(|name| name.last()) {
            last[usize::from(byte.to_ascii_lowercase())] = true;
            last[usize::from(byte.to_ascii_uppercase())] = true;
        }
        let mut letters: Vec<u8> = names.iter().filter_map(|name| name.last()).map(u8::to_ascii_lowercase).collect();
        letters.sort_unstable();
        letters.dedup();
        let is_plain = (1..=LAST_LETTERS).contains(&letters.len()) && letters.iter().all(u8::is_ascii_lowercase);
        let last_letters = is_plain.then(|| std::array::from_fn(|idx| letters[idx.min(letters.len() - 1)]));
        Self { names, last, last_letters }
    }

    /// Last letters of all names in lower case; others than these may be missing from the search by lanes.
    pub(super) fn last_letters(&self) -> Option<[u8; LAST_LETTERS]> {
        self.last_letters
    }

    /// The names, best first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.names.iter().map(|name| &**name)
    }

    /// True when one of the names ends in `byte`, in any letter case.
    pub(super) fn may_end_in(&self, byte: u8) -> bool {
        self.last[usize::from(byte)]
    }

    /// True for one of the names, in its letter case.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        key.last().is_some_and(|&byte| self.may_end_in(byte)) && self.iter().any(|name| name == key)
    }

    /// The best name that equals `key` but for letter case.
    pub(super) fn rank(&self, key: &[u8]) -> Option<usize> {
        let may_be_one = key.last().is_some_and(|&byte| self.may_end_in(byte));
        may_be_one.then(|| self.iter().position(|name| name.eq_ignore_ascii_case(key)))?
    }
}
