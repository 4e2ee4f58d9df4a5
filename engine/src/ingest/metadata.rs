//! Structured metadata: names normalised, values made text, sets interned.
//!
//! Most entries have `detected_level` and nothing else, or the same few pairs as their neighbours, so a set is built
//! once per request and entries carry its id.

use std::sync::Arc;

use hashbrown::HashMap;

use super::level::{Level, LevelNames};
use crate::model::{MetadataSet, MetadataSets};

/// The name under which every entry has its level.
pub const LEVEL_NAME: &str = "detected_level";

/// Sets remembered by the bytes they were made of. Beyond, all are forgotten: such requests hardly repeat any.
const KNOWN_SETS_MAX: usize = 4096;

/// Names and values remembered by what was sent; likewise.
const KNOWN_TEXTS_MAX: usize = 4096;

/// Longest value that is worth remembering: longer ones hardly come twice.
const KNOWN_VALUE_BYTES_MAX: usize = 64;

/// Appends the normal form of a metadata name or OTLP attribute: what is not `[A-Za-z0-9_]` becomes `_`, runs of `_`
/// become one, a leading digit gets `key_` before it. `__x__` keeps its outer pairs.
///
/// Source: Prometheus, "OTLP label translation".
pub fn normalize_name(name: &[u8], out: &mut Vec<u8>) {
    if is_normal(name) {
        return out.extend_from_slice(name);
    }
    let reserved = name.strip_prefix(b"__").and_then(|name| name.strip_suffix(b"__")).filter(|inner| !inner.is_empty());
    let inner = reserved.unwrap_or(name);
    let guard: &[u8] = if reserved.is_some() { b"__" } else { b"" };
    out.extend_from_slice(guard);
    if reserved.is_none() && inner.first().is_some_and(u8::is_ascii_digit) {
        out.extend_from_slice(b"key_");
    }
    let start = out.len();
    for &byte in inner {
        let byte = if byte.is_ascii_alphanumeric() { byte } else { b'_' };
        if byte != b'_' || out.len() == start || out.last() != Some(&b'_') {
            out.push(byte);
        }
    }
    out.extend_from_slice(guard);
}

/// True when [`normalize_name`] changes nothing.
fn is_normal(name: &[u8]) -> bool {
    let is_name_byte = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    name.iter().all(is_name_byte)
        && name.first().is_some_and(|byte| !byte.is_ascii_digit())
        && !name.windows(2).any(|pair| pair == b"__")
}

/// True when something remains of `name` but underscores. Others name nothing and are refused.
pub fn is_name(name: &[u8]) -> bool {
    name.iter().any(u8::is_ascii_alphanumeric)
}

/// `value` as text; each byte that is no UTF-8 becomes a space.
fn text_of(value: &[u8]) -> Arc<str> {
    if let Ok(text) = std::str::from_utf8(value) {
        return text.into();
    }
    let mut text = String::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| ' '));
    }
    text.into()
}

/// A level by name, or as a client wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LevelText {
    /// A known one.
    Known(Level),
    /// Any other text.
    Other(Arc<str>),
}

impl LevelText {
    /// The level that `value`, of a label or metadata, states.
    pub fn of_value(value: &[u8]) -> Self {
        Level::parse(value).map_or_else(|| Self::Other(text_of(value)), Self::Known)
    }
}

/// Builds the metadata of the entries of one request.
#[derive(Debug)]
pub struct MetadataBuilder {
    level_name: Arc<str>,
    level_values: [Arc<str>; Level::ALL.len()],
    /// Ids of the sets that hold just a known level.
    level_ids: [Option<u32>; Level::ALL.len()],
    names: KnownTexts,
    values: KnownTexts,
    known: HashMap<Box<[u8]>, u32>,
    /// Scratch.
    key: Vec<u8>,
    name: Vec<u8>,
    set: MetadataSet,
}

impl Default for MetadataBuilder {
    fn default() -> Self {
        Self {
            level_name: LEVEL_NAME.into(),
            level_values: Level::ALL.map(|level| level.as_str().into()),
            level_ids: [None; Level::ALL.len()],
            names: KnownTexts::default(),
            values: KnownTexts::default(),
            known: HashMap::new(),
            key: Vec::new(),
            name: Vec::new(),
            set: MetadataSet::new(),
        }
    }
}

/// Texts by what they were made of, so that entries share them.
#[derive(Debug, Default)]
struct KnownTexts(HashMap<Box<[u8]>, Arc<str>>);

impl KnownTexts {
    fn get(&mut self, bytes: &[u8], make: impl FnOnce(&[u8]) -> Arc<str>) -> Arc<str> {
        if let Some(known) = self.0.get(bytes) {
            return known.clone();
        }
        let text = make(bytes);
        if self.0.len() >= KNOWN_TEXTS_MAX {
            self.0.clear();
        }
        self.0.insert(bytes.into(), text.clone());
        text
    }
}

/// How an entry comes to its `detected_level`.
#[derive(Debug, Clone, Copy)]
pub struct LevelRules<'a> {
    /// Names of labels, metadata and members that hold a level.
    pub names: &'a LevelNames,
    /// What the stream's labels say, which goes before metadata and the line.
    pub of_stream: Option<&'a LevelText>,
    /// How deep a JSON line is searched.
    pub json_depth_max: u32,
}

impl MetadataBuilder {
    /// The id in `sets` of the metadata of an entry: `pairs` as sent, and its level unless `level` is `None`.
    ///
    /// Pairs without a value or a usable name are left out; of several with one name the last wins.
    pub fn entry<'a>(
        &mut self,
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        line: &[u8],
        level: Option<LevelRules<'_>>,
        sets: &mut MetadataSets,
    ) -> u32 {
        if pairs.clone().next().is_none() {
            return match level {
                None => 0,
                Some(LevelRules { of_stream: Some(text), .. }) => self.level_only(text, sets),
                Some(rules) => {
                    let level = Level::of_line(line, rules.names, rules.json_depth_max);
                    self.level_only(&LevelText::Known(level), sets)
                }
            };
        }

        // The level of a line is part of the key only if the line decides: read it first, cheaply.
        let of_line = level.filter(|rules| rules.of_stream.is_none());
        let of_line = of_line.map(|rules| Level::of_line(line, rules.names, rules.json_depth_max));
        self.key.clear();
        match level.map(|rules| rules.of_stream) {
            None => self.key.push(0),
            Some(None) => self.key.extend([1, of_line.map_or(0, |level| level as u8)]),
            Some(Some(LevelText::Known(level))) => self.key.extend([2, *level as u8]),
            Some(Some(LevelText::Other(text))) => {
                self.key.push(3);
                write_part(&mut self.key, text.as_bytes());
            }
        }
        for (name, value) in pairs.clone() {
            write_part(&mut self.key, name);
            write_part(&mut self.key, value);
        }
        if let Some(&id) = self.known.get(&*self.key) {
            return id;
        }
        self.build(pairs);
        if let Some(rules) = level {
            let text = self.level_of_set(rules, of_line);
            self.put_level(&text);
        }
        let id = sets.intern(std::mem::take(&mut self.set));
        if self.known.len() >= KNOWN_SETS_MAX {
            self.known.clear();
        }
        self.known.insert(self.key.as_slice().into(), id);
        id
    }

    fn level_only(&mut self, text: &LevelText, sets: &mut MetadataSets) -> u32 {
        if let LevelText::Known(level) = text
            && let Some(id) = self.level_ids[*level as usize]
        {
            return id;
        }
        self.set.clear();
        self.put_level(text);
        let id = sets.intern(std::mem::take(&mut self.set));
        if let LevelText::Known(level) = text {
            self.level_ids[*level as usize] = Some(id);
        }
        id
    }

    /// Fills `set` from `pairs`, sorted, each name once.
    fn build<'a>(&mut self, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        self.set.clear();
        for (name, value) in pairs {
            if !is_name(name) || value.is_empty() {
                continue;
            }
            let (name, value) = (self.name_of(name), self.value_of(value));
            match self.set.binary_search_by(|(known, _)| known.cmp(&name)) {
                Ok(at) => self.set[at].1 = value,
                Err(at) => self.set.insert(at, (name, value)),
            }
        }
    }

    fn name_of(&mut self, name: &[u8]) -> Arc<str> {
        let scratch = &mut self.name;
        self.names.get(name, |name| {
            scratch.clear();
            normalize_name(name, scratch);
            // Normal names are ASCII.
            String::from_utf8_lossy(scratch).into()
        })
    }

    fn value_of(&mut self, value: &[u8]) -> Arc<str> {
        if value.len() > KNOWN_VALUE_BYTES_MAX { text_of(value) } else { self.values.get(value, text_of) }
    }

    /// The level of an entry that has metadata: its own, the stream's, of the known names, the severity number, the
    /// line's.
    fn level_of_set(&self, rules: LevelRules<'_>, of_line: Option<Level>) -> LevelText {
        let get = |name: &[u8]| {
            let found = self.set.binary_search_by(|(known, _)| known.as_bytes().cmp(name)).ok()?;
            Some(self.set[found].1.as_bytes())
        };
        if let Some(value) = get(LEVEL_NAME.as_bytes()) {
            return LevelText::of_value(value);
        }
        if let Some(text) = rules.of_stream {
            return text.clone();
        }
        if let Some(value) = rules.names.iter().find_map(get) {
            return LevelText::of_value(value);
        }
        if let Some(number) = get(b"severity_number") {
            return LevelText::Known(Level::of_severity_number(number));
        }
        LevelText::Known(of_line.unwrap_or(Level::Unknown))
    }

    fn put_level(&mut self, text: &LevelText) {
        let value = match text {
            LevelText::Known(level) => self.level_values[*level as usize].clone(),
            LevelText::Other(text) => text.clone(),
        };
        match self.set.binary_search_by(|(name, _)| (**name).cmp(LEVEL_NAME)) {
            Ok(at) => self.set[at].1 = value,
            Err(at) => self.set.insert(at, (self.level_name.clone(), value)),
        }
    }
}

/// Appends `part` so that no two lists of parts have the same bytes.
fn write_part(key: &mut Vec<u8>, part: &[u8]) {
    key.extend_from_slice(&(part.len() as u32).to_le_bytes());
    key.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use logstack_config::Limits;
    use proptest::prelude::*;

    use super::*;

    fn normal(name: &[u8]) -> String {
        let mut out = Vec::new();
        normalize_name(name, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn normalizes_names() {
        #[track_caller]
        fn check(name: &str, want: &str) {
            assert_eq!(normal(name.as_bytes()), want, "{name:?}");
        }
        check("trace_id", "trace_id");
        check("k8s.pod.name", "k8s_pod_name");
        check("a--b", "a_b");
        check("a__b", "a_b");
        check("é", "_");
        check("aéb", "a_b");
        check("1st", "key_1st");
        check("__x__", "__x__");
        check("__dunder", "_dunder");
        check("_x", "_x");
        check("", "");
        assert!(is_name(b"a") && is_name(b"_1") && !is_name(b"") && !is_name("ü".as_bytes()) && !is_name(b"__"));
    }

    fn show(set: &MetadataSet) -> String {
        set.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn completes_metadata() {
        let names = LevelNames::new(&Limits::default().log_level_fields);
        let mut builder = MetadataBuilder::default();
        let mut sets = MetadataSets::default();
        #[track_caller]
        fn check(
            (builder, sets): (&mut MetadataBuilder, &mut MetadataSets),
            pairs: &[(&str, &str)],
            line: &str,
            level: Option<LevelRules<'_>>,
            want: &str,
        ) {
            let pairs = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            let id = builder.entry(pairs.clone(), line.as_bytes(), level, sets);
            assert_eq!(show(sets.get(id)), want);
            assert_eq!(builder.entry(pairs, line.as_bytes(), level, sets), id, "found again");
        }
        let plain = Some(LevelRules { names: &names, of_stream: None, json_depth_max: 2 });
        let both = (&mut builder, &mut sets);
        check((both.0, both.1), &[], "x", None, "");
        check((both.0, both.1), &[], "level=warn", plain, "detected_level=warn");
        check((both.0, both.1), &[("b", "2"), ("a.x", "1"), ("e", "")], "x", None, "a_x=1 b=2");
        check((both.0, both.1), &[("zz", "2"), ("a", "1")], "ERROR x", plain, "a=1 detected_level=error zz=2");
        check((both.0, both.1), &[("zz", "2"), ("a", "1")], "INFO x", plain, "a=1 detected_level=info zz=2");
        check((both.0, both.1), &[("a.b", "1"), ("a_b", "2")], "x", None, "a_b=2");
        check((both.0, both.1), &[("detected_level", "WRN")], "ERROR", plain, "detected_level=warn");
        check((both.0, both.1), &[("detected_level", "odd")], "ERROR", plain, "detected_level=odd");
        check(
            (both.0, both.1),
            &[("severity", "err"), ("level", "odd")],
            "INFO",
            plain,
            "detected_level=odd level=odd severity=err",
        );
        check((both.0, both.1), &[("severity_number", "13")], "INFO", plain, "detected_level=warn severity_number=13");
        check(
            (both.0, both.1),
            &[("severity_number", "13"), ("lvl", "dbg")],
            "",
            plain,
            "detected_level=debug lvl=dbg severity_number=13",
        );

        for (text, want) in [(LevelText::of_value(b"Fatal"), "fatal"), (LevelText::of_value(b"weird"), "weird")] {
            let of_stream = plain.map(|rules| LevelRules { of_stream: Some(&text), ..rules });
            check((both.0, both.1), &[], "ERROR", of_stream, &format!("detected_level={want}"));
            check(
                (both.0, both.1),
                &[("level", "dbg")],
                "ERROR",
                of_stream,
                &format!("detected_level={want} level=dbg"),
            );
            check((both.0, both.1), &[("detected_level", "dbg")], "ERROR", of_stream, "detected_level=debug");
        }
    }

    #[test]
    fn bytes_that_are_no_text_become_spaces() {
        assert_eq!(&*text_of(b"a\xff\xfeb\xe2\x82"), "a  b  ");
    }

    proptest! {
        #[test]
        fn normal_names_stay_normal(name in "\\PC{0,12}") {
            let once = normal(name.as_bytes());
            prop_assert_eq!(normal(once.as_bytes()), once);
        }
    }
}
