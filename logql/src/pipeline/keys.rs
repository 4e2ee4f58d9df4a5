//! From keys as they stand in lines to label names, remembered from line to line.
//!
//! Lines of one program bring the same keys in the same order, so a key is first compared with the one that followed
//! its neighbour last time, and hashed only if that guess fails. What is remembered: the sanitised label name, and
//! whether anybody needs it or something below it.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::names::{EXTRACTED_SUFFIX, NameId, Names};
use super::needs::Needs;

/// Nesting of JSON objects whose members become labels; deeper ones are passed over. Names grow with the depth, so
/// a bound is needed; nobody addresses such labels.
pub(crate) const DEPTH_MAX: u32 = 128;

/// The root of JSON keys.
pub(crate) const JSON: KeyId = KeyId(0);
/// The root of logfmt keys.
pub(crate) const LOGFMT: KeyId = KeyId(1);

const NONE: u32 = u32::MAX;

/// A key below its parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyId(u32);

/// What is known of a key.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    parent: u32,
    /// The key as it stands in lines: `raw[start..end]`.
    start: u32,
    end: u32,
    depth: u32,
    /// Sanitised names of parents and key, joined by `_`; may be empty.
    name: Box<str>,
    /// The number of `name`, when a label of this name is needed.
    pub label: Option<NameId>,
    /// Something below this key is needed.
    pub is_needed_below: bool,
    /// The key that came next, and the first one below, when this one was seen last.
    next: u32,
    first: u32,
}

/// See the module's head.
pub(crate) struct KeyTable {
    keys: Vec<Key>,
    raw: Vec<u8>,
    index: HashTable<u32>,
    name_bytes: usize,
}

/// Bytes of keys and names, before the table starts anew: keys may be data.
const BYTES_KEPT: usize = 4 << 20;

impl Default for KeyTable {
    fn default() -> Self {
        let root = Key {
            parent: NONE,
            start: 0,
            end: 0,
            depth: 0,
            name: "".into(),
            label: None,
            is_needed_below: true,
            next: NONE,
            first: NONE,
        };
        Self { keys: vec![root.clone(), root], raw: Vec::new(), index: HashTable::new(), name_bytes: 0 }
    }
}

impl KeyTable {
    /// True when lines brought so many keys that the table had better be made anew.
    pub(crate) fn is_overgrown(&self) -> bool {
        self.raw.len() + self.name_bytes + self.keys.len() * size_of::<Key>() > BYTES_KEPT
    }

    pub(crate) fn get(&self, key: KeyId) -> &Key {
        &self.keys[key.0 as usize]
    }

    /// The key `raw` below `parent`, expected behind `previous`. `unescape` turns it into text, once; `None` when it
    /// cannot.
    pub(crate) fn find(
        &mut self,
        parent: KeyId,
        previous: Option<KeyId>,
        raw: &[u8],
        names: &mut Names,
        needs: &Needs,
        unescape: impl FnOnce(&[u8], &mut String) -> bool,
    ) -> Option<KeyId> {
        let guess = match previous {
            Some(previous) => self.keys[previous.0 as usize].next,
            None => self.keys[parent.0 as usize].first,
        };
        if guess != NONE && self.is(guess, parent, raw) {
            return Some(KeyId(guess));
        }
        let hash = xxh3_64_with_seed(raw, u64::from(parent.0));
        let known = self.index.find(hash, |&idx| self.is(idx, parent, raw)).copied();
        let found = match known {
            Some(idx) => idx,
            None => self.insert(parent, raw, hash, names, needs, unescape)?,
        };
        match previous {
            Some(previous) => self.keys[previous.0 as usize].next = found,
            None => self.keys[parent.0 as usize].first = found,
        }
        Some(KeyId(found))
    }

    fn is(&self, idx: u32, parent: KeyId, raw: &[u8]) -> bool {
        let key = &self.keys[idx as usize];
        key.parent == parent.0 && self.raw[key.start as usize..key.end as usize] == *raw
    }

    fn insert(
        &mut self,
        parent: KeyId,
        raw: &[u8],
        hash: u64,
        names: &mut Names,
        needs: &Needs,
        unescape: impl FnOnce(&[u8], &mut String) -> bool,
    ) -> Option<u32> {
        let mut text = String::new();
        if !unescape(raw, &mut text) {
            return None;
        }
        let above = &self.keys[parent.0 as usize];
        let depth = above.depth + 1;
        let mut name = above.name.to_string();
        sanitize(&mut name, &text);
        let is_needed = !name.is_empty() && (needs.all || is_named(needs, names, &name));
        let key = Key {
            parent: parent.0,
            start: self.raw.len() as u32,
            end: (self.raw.len() + raw.len()) as u32,
            depth,
            label: is_needed.then(|| names.intern(&name)),
            is_needed_below: depth < DEPTH_MAX && needs.contains_below(&name, names),
            name: name.into(),
            next: NONE,
            first: NONE,
        };
        self.raw.extend_from_slice(raw);
        self.name_bytes += key.name.len();
        let idx = self.keys.len() as u32;
        self.keys.push(key);
        let Self { keys, raw, index, .. } = self;
        index.insert_unique(hash, idx, |&idx| {
            let key = &keys[idx as usize];
            xxh3_64_with_seed(&raw[key.start as usize..key.end as usize], u64::from(key.parent))
        });
        Some(idx)
    }
}

/// Is the label, or what it is called when it collides, needed by name?
fn is_named(needs: &Needs, names: &Names, name: &str) -> bool {
    let is_needed = |name: &str| names.find(name).is_some_and(|name| needs.contains_named(name));
    is_needed(name) || is_needed(&format!("{name}{EXTRACTED_SUFFIX}"))
}

/// Appends `key` to the name of its parent: blanks trimmed, every character outside `[A-Za-z0-9_]` as one `_`, a
/// leading digit behind a `_`. An empty key appends nothing.
pub(crate) fn sanitize(name: &mut String, key: &str) {
    let key = key.trim();
    let Some(first) = key.bytes().next() else { return };
    if !name.is_empty() || first.is_ascii_digit() {
        name.push('_');
    }
    name.extend(key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sanitizes_names() {
        #[track_caller]
        fn check(keys: &[&str], want: &str) {
            let mut name = String::new();
            keys.iter().for_each(|key| sanitize(&mut name, key));
            assert_eq!(name, want, "{keys:?}");
        }
        check(&["foo.bar"], "foo_bar");
        check(&["1start"], "_1start");
        check(&["a", "1"], "a_1");
        check(&["", "b"], "b");
        check(&["a", "", "c"], "a_c");
        check(&["é"], "_");
        check(&["日本"], "__");
        check(&["  spaced "], "spaced");
        check(&["  "], "");
    }

    #[test]
    fn remembers_keys() {
        let (mut table, mut names, needs) = (KeyTable::default(), Names::default(), Needs::all());
        let mut find = |table: &mut KeyTable, parent, previous, raw: &[u8]| {
            let plain = |raw: &[u8], text: &mut String| {
                text.push_str(&String::from_utf8_lossy(raw));
                !raw.contains(&b'!')
            };
            table.find(parent, previous, raw, &mut names, &needs, plain)
        };
        let a = find(&mut table, JSON, None, b"a");
        let b = find(&mut table, JSON, a, b"b");
        assert_ne!(a, b);
        assert_eq!(find(&mut table, JSON, None, b"a"), a);
        assert_eq!(find(&mut table, JSON, a, b"b"), b);
        assert_eq!(find(&mut table, JSON, None, b"b"), b, "another order");
        assert_ne!(find(&mut table, LOGFMT, None, b"a"), a);
        assert_eq!(find(&mut table, JSON, None, b"a!"), None);
        let below = find(&mut table, a.unwrap(), None, b"x-y").unwrap();
        assert_eq!(&*table.get(below).name, "a_x_y");
    }
}
