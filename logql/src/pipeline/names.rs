//! Label names as small numbers, so that a line's labels are found by index and not by comparing text.
//!
//! A pipeline numbers the names that its query speaks of; a [`Scratch`](super::Scratch) starts from that table and
//! adds what streams, structured metadata and lines bring.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// The suffix of a label that would hide a stream or metadata label.
pub(crate) const EXTRACTED_SUFFIX: &str = "_extracted";

/// `__error__`
pub(crate) const ERROR: NameId = NameId(0);
/// `__error_details__`
pub(crate) const ERROR_DETAILS: NameId = NameId(1);

/// The number of a label name in one [`Names`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NameId(pub u32);

impl NameId {
    pub(crate) fn idx(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Names {
    text: Vec<Box<str>>,
    index: HashTable<u32>,
    /// Per name, the number of `name_extracted`; `u32::MAX` until asked for.
    extracted: Vec<u32>,
}

impl Default for Names {
    fn default() -> Self {
        let mut names = Self { text: Vec::new(), index: HashTable::new(), extracted: Vec::new() };
        assert_eq!(names.intern("__error__"), ERROR);
        assert_eq!(names.intern("__error_details__"), ERROR_DETAILS);
        names
    }
}

impl Names {
    /// The number of `name`, new or known.
    pub(crate) fn intern(&mut self, name: &str) -> NameId {
        let hash = xxh3_64(name.as_bytes());
        if let Some(&idx) = self.index.find(hash, |&idx| &*self.text[idx as usize] == name) {
            return NameId(idx);
        }
        let idx = self.text.len() as u32;
        self.text.push(name.into());
        self.extracted.push(u32::MAX);
        let text = &self.text;
        self.index.insert_unique(hash, idx, |&idx| xxh3_64(text[idx as usize].as_bytes()));
        NameId(idx)
    }

    /// The number of `name`, if it has one.
    pub(crate) fn find(&self, name: &str) -> Option<NameId> {
        let hash = xxh3_64(name.as_bytes());
        self.index.find(hash, |&idx| &*self.text[idx as usize] == name).map(|&idx| NameId(idx))
    }

    /// The number of `<name>_extracted`.
    pub(crate) fn extracted(&mut self, name: NameId) -> NameId {
        let known = self.extracted[name.idx()];
        if known != u32::MAX {
            return NameId(known);
        }
        let text = format!("{}{EXTRACTED_SUFFIX}", self.text[name.idx()]);
        let id = self.intern(&text);
        self.extracted[name.idx()] = id.0;
        id
    }

    pub(crate) fn text(&self, name: NameId) -> &str {
        &self.text[name.idx()]
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_once() {
        let mut names = Names::default();
        let app = names.intern("app");
        assert_eq!(names.intern("app"), app);
        assert_eq!(names.find("pod"), None);
        let extracted = names.extracted(app);
        assert_eq!(names.text(extracted), "app_extracted");
        assert_eq!(names.extracted(app), extracted);
        assert_eq!(names.find("app_extracted"), Some(extracted));
    }
}
