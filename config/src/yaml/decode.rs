//! A tree -> a typed value, by serde, with every mistake located.
//!
//! serde's visitors end at their first error. So the tree is decoded again after each one, without the node that
//! caused it, until it succeeds: the defaults of the structs stand in for what was removed. Unknown keys need no second
//! run: a struct's deserializer is told the struct's fields, so it reports a stranger, skips it and goes on.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor};

use super::node::{Key, Kind, Mark, Node};
use super::scalar::Resolved;
use crate::finding::{Severity, did_you_mean};

/// More runs than this means more mistakes than anyone reads at once.
const RUNS_MAX: usize = 200;

/// What null means for a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// The zero value of its type, as in Go; for a block its defaults.
    Zero,
    /// As if the key were absent, as in a Kubernetes object.
    Absent,
}

/// What is known about keys beyond the fields of the structs.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// What null means.
    pub nulls: Nulls,
    /// Known keys without a meaning here: a warning.
    pub ignored: &'static [Ignored],
    /// Known keys that would do harm if they were ignored: an error with a reason better than "unknown".
    pub refused: &'static [Ignored],
    /// Structs (by serde's name) in which unknown keys only warn and the case of keys does not count.
    pub is_lenient: fn(&str) -> bool,
}

/// Keys of one struct that the reference knows and we do not have.
#[derive(Debug, Clone, Copy)]
pub struct Ignored {
    /// Serde's name of the struct.
    pub block: &'static str,
    /// Why they have no meaning: `one node has no ring`.
    pub reason: &'static str,
    /// The keys.
    pub keys: &'static [&'static str],
}

/// Something noticed while decoding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Noted {
    pub severity: Severity,
    pub at: Mark,
    pub path: String,
    pub text: String,
}

impl std::hash::Hash for Mark {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.source, self.line, self.column).hash(state);
    }
}

/// What came of a tree.
pub(crate) struct Decoded<T> {
    /// There unless the root itself is of no use; trustworthy only without errors.
    pub value: Option<T>,
    /// Paths that were left out of it, each with an error of its own.
    pub removed: HashSet<String>,
    /// Errors and warnings.
    pub noted: Vec<Noted>,
}

/// Decodes `root`.
pub(crate) fn decode<T: DeserializeOwned>(root: &Node, rules: &Rules) -> Decoded<T> {
    let cx = Cx { rules, removed: RefCell::default(), noted: RefCell::default() };
    let mut errors: Vec<Noted> = Vec::new();
    let mut value = None;
    for _ in 0..RUNS_MAX {
        match T::deserialize(NodeDe { node: root, path: &Path::Root, cx: &cx }) {
            Ok(decoded) => {
                value = Some(decoded);
                break;
            }
            Err(error) => {
                let (path, at) = error.at.clone().unwrap_or((String::new(), root.at));
                if !error.is_echo(&path, &cx.removed.borrow()) {
                    errors.push(Noted { severity: Severity::Error, at, path: path.clone(), text: error.text });
                }
                if path.is_empty() || !cx.removed.borrow_mut().insert(path) {
                    break;
                }
            }
        }
    }
    errors.extend(cx.noted.into_inner());
    Decoded { value, removed: cx.removed.into_inner(), noted: errors }
}

struct Cx<'a> {
    rules: &'a Rules,
    /// Paths of nodes that caused an error.
    removed: RefCell<HashSet<String>>,
    /// Unknown and ignored keys; each once, over all runs.
    noted: RefCell<Vec<Noted>>,
}

impl Cx<'_> {
    fn note(&self, severity: Severity, at: Mark, path: String, text: String) {
        let noted = Noted { severity, at, path, text };
        let mut all = self.noted.borrow_mut();
        if !all.contains(&noted) {
            all.push(noted);
        }
    }

    /// Notes a key without a meaning, once however often it stands in a list.
    fn note_ignored(&self, at: Mark, path: String, key: &str, reason: &str) {
        let text = format!("is accepted and ignored: {reason}");
        let mut all = self.noted.borrow_mut();
        let is_same = |noted: &Noted| noted.text == text && last_key(&noted.path) == key;
        if !all.iter().any(is_same) {
            all.push(Noted { severity: Severity::Warning, at, path, text });
        }
    }

    fn is_removed(&self, path: &Path<'_>) -> bool {
        let removed = self.removed.borrow();
        !removed.is_empty() && removed.contains(&path.to_string())
    }
}

fn last_key(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Where the deserializer is. Lives on the stack; becomes text only when something is reported.
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(parent, key) => {
                parent.fmt(f)?;
                let plain = !key.is_empty() && !key.contains(['.', '[', ']', '"', ' ']);
                match (plain, parent) {
                    (true, Path::Root) => f.write_str(key),
                    (true, _) => write!(f, ".{key}"),
                    (false, _) => write!(f, "[{key:?}]"),
                }
            }
            Path::Item(parent, idx) => write!(f, "{parent}[{idx}]"),
        }
    }
}

/// serde's error, with the place once it is known.
#[derive(Debug)]
struct DecodeError {
    text: String,
    /// Set by the innermost deserializer that the error passes.
    at: Option<(String, Mark)>,
    missing: Option<&'static str>,
}

impl DecodeError {
    fn new(text: String) -> Self {
        Self { text, at: None, missing: None }
    }

    fn located(mut self, path: &Path<'_>, at: Mark) -> Self {
        self.at.get_or_insert_with(|| (path.to_string(), at));
        self
    }

    /// True when the error only says that something is missing which an earlier run removed.
    fn is_echo(&self, path: &str, removed: &HashSet<String>) -> bool {
        let below = |other: &String| {
            let rest = other.strip_prefix(path);
            rest.filter(|rest| path.is_empty() || rest.starts_with(['.', '['])).map(str::to_owned)
        };
        match self.missing {
            Some(field) => removed.iter().filter_map(below).any(|rest| rest.trim_start_matches('.') == field),
            None => removed.iter().any(|other| below(other).is_some()),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(text.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Self::new(format!("{} is not {wanted}", show(found)))
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        // serde names the integer type; a user knows numbers.
        let wanted = match wanted.to_string().as_str() {
            "u8" => "between 0 and 255".to_owned(),
            "u16" => "between 0 and 65535".to_owned(),
            "u32" => "between 0 and 4294967295".to_owned(),
            "u64" | "usize" => "0 or more".to_owned(),
            "i32" => "between -2147483648 and 2147483647".to_owned(),
            other => other.to_owned(),
        };
        Self::new(format!("{} is not {wanted}", show(found)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let names: Vec<&str> = expected.iter().copied().filter(|name| !name.is_empty()).collect();
        let near = did_you_mean(variant, names.iter().copied());
        Self::new(format!("{variant:?} is not one of {}{near}", names.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { text: format!("needs the key {field}"), at: None, missing: Some(field) }
    }
}

fn show(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(text) => format!("{text:?}"),
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        other => other.to_string(),
    }
}

#[derive(Clone, Copy)]
struct NodeDe<'a> {
    node: &'a Node,
    path: &'a Path<'a>,
    cx: &'a Cx<'a>,
}

type Out<T> = Result<T, DecodeError>;

impl<'a> NodeDe<'a> {
    /// The scalar's meaning; a list or mapping is its own kind of surprise.
    fn resolved(&self) -> Result<Resolved<'a>, Unexpected<'a>> {
        match &self.node.kind {
            Kind::Scalar(scalar) => Ok(scalar.resolve()),
            Kind::Sequence(_) => Err(Unexpected::Seq),
            Kind::Mapping(_) => Err(Unexpected::Map),
        }
    }

    fn is_null(&self) -> bool {
        self.resolved() == Ok(Resolved::Null)
    }

    fn located<T>(&self, result: Out<T>) -> Out<T> {
        result.map_err(|error| error.located(self.path, self.node.at))
    }

    fn wrong(&self, wanted: &dyn de::Expected) -> DecodeError {
        let found = match self.resolved() {
            Ok(Resolved::Null) => Unexpected::Unit,
            Ok(Resolved::Bool(value)) => Unexpected::Bool(value),
            Ok(Resolved::Int(value)) => Unexpected::Signed(value),
            Ok(Resolved::UInt(value)) => Unexpected::Unsigned(value),
            Ok(Resolved::Float(value)) => Unexpected::Float(value),
            Ok(Resolved::Text(text)) => Unexpected::Str(text),
            Err(found) => found,
        };
        de::Error::invalid_type(found, wanted)
    }

    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        let result = match self.resolved() {
            Ok(Resolved::Null) => visitor.visit_u64(0),
            Ok(Resolved::Int(value)) => visitor.visit_i64(value),
            Ok(Resolved::UInt(value)) => visitor.visit_u64(value),
            // `1e6`. `i64::MAX` is no f64, so the range ends below it.
            Ok(Resolved::Float(value)) if value.fract() == 0.0 && value.abs() < 9e18 => visitor.visit_i64(value as i64),
            _ => Err(DecodeError::new(format!("{} is not a whole number", self.shown()))),
        };
        self.located(result)
    }

    fn shown(&self) -> String {
        match &self.node.kind {
            Kind::Scalar(scalar) if scalar.plain => scalar.text.clone(),
            Kind::Scalar(scalar) => format!("{:?}", scalar.text),
            Kind::Sequence(_) => "a list".to_owned(),
            Kind::Mapping(_) => "a mapping".to_owned(),
        }
    }

    fn map<'de, V: Visitor<'de>>(self, fields: Option<Fields>, visitor: V) -> Out<V::Value> {
        let entries: &[(Key, Node)] = match &self.node.kind {
            Kind::Mapping(entries) => entries,
            _ if self.is_null() => &[],
            _ => return self.located(Err(self.wrong(&visitor))),
        };
        let mut access = Entries { entries, de: self, fields, current: None };
        let result = visitor.visit_map(&mut access);
        // An error between a key and its value is about the key.
        if let (Err(error), Some((key, _))) = (&result, access.current)
            && error.at.is_none()
        {
            let path = Path::Key(self.path, &key.text);
            return result.map_err(|error| error.located(&path, key.at));
        }
        self.located(result)
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> { self.number(visitor) })*
    };
}

macro_rules! texts {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
            let result = match &self.node.kind {
                // Any scalar is text, as written: `regex: true`, `regex: 8080`.
                Kind::Scalar(_) if self.is_null() => visitor.visit_str(""),
                Kind::Scalar(scalar) => visitor.visit_str(&scalar.text),
                _ => Err(DecodeError::new(format!("{} is not text", self.shown()))),
            };
            self.located(result)
        })*
    };
}

impl<'de> de::Deserializer<'de> for NodeDe<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        let result = match self.resolved() {
            Ok(Resolved::Null) => visitor.visit_unit(),
            Ok(Resolved::Bool(value)) => visitor.visit_bool(value),
            Ok(Resolved::Int(value)) if value >= 0 => visitor.visit_u64(value as u64),
            Ok(Resolved::Int(value)) => visitor.visit_i64(value),
            Ok(Resolved::UInt(value)) => visitor.visit_u64(value),
            Ok(Resolved::Float(value)) => visitor.visit_f64(value),
            Ok(Resolved::Text(text)) => visitor.visit_str(text),
            Err(Unexpected::Seq) => return self.deserialize_seq(visitor),
            Err(_) => return self.map(None, visitor),
        };
        self.located(result)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        let result = match self.resolved() {
            Ok(Resolved::Bool(value)) => visitor.visit_bool(value),
            Ok(Resolved::Null) => visitor.visit_bool(false),
            Ok(Resolved::Text(text)) if matches!(text, "true" | "false") => {
                Err(DecodeError::new(format!("{text:?} is text (hint: write {text} without quotes)")))
            }
            _ => Err(DecodeError::new(format!("{} is not true or false", self.shown()))),
        };
        self.located(result)
    }

    numbers! { deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
    deserialize_u32 deserialize_u64 }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        let result = match self.resolved() {
            Ok(Resolved::Null) => visitor.visit_f64(0.0),
            Ok(Resolved::Int(value)) => visitor.visit_f64(value as f64),
            Ok(Resolved::UInt(value)) => visitor.visit_f64(value as f64),
            Ok(Resolved::Float(value)) => visitor.visit_f64(value),
            _ => Err(DecodeError::new(format!("{} is not a number", self.shown()))),
        };
        self.located(result)
    }

    texts! { deserialize_char deserialize_str deserialize_string deserialize_identifier }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        let result = if self.is_null() { visitor.visit_unit() } else { Err(self.wrong(&visitor)) };
        self.located(result)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Out<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Out<V::Value> {
        if name == "GoDuration"
            && let Ok(Resolved::Int(value @ 1..)) = self.resolved()
        {
            let text = format!("{value} without a unit means nanoseconds (hint: write {value}s or {value}ms)");
            self.cx.note(Severity::Warning, self.node.at, self.path.to_string(), text);
        }
        let result = visitor.visit_newtype_struct(self);
        self.located(result)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        let items: &[Node] = match &self.node.kind {
            Kind::Sequence(items) => items,
            _ if self.is_null() => &[],
            _ => return self.located(Err(DecodeError::new(format!("{} is not a list", self.shown())))),
        };
        let result = visitor.visit_seq(Items { items, idx: 0, de: self });
        self.located(result)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Out<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, visitor: V) -> Out<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        self.map(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Out<V::Value> {
        if let Kind::Sequence(_) | Kind::Scalar(_) = &self.node.kind
            && !self.is_null()
        {
            let text = format!("{} is not a mapping", self.shown());
            return self.located(Err(DecodeError::new(text)));
        }
        self.map(Some(Fields { block: name, names: fields }), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Out<V::Value> {
        let result = match &self.node.kind {
            Kind::Scalar(_) if self.is_null() => visitor.visit_enum("".into_deserializer()),
            Kind::Scalar(scalar) => visitor.visit_enum(scalar.text.as_str().into_deserializer()),
            _ => Err(self.wrong(&visitor)),
        };
        self.located(result)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        visitor.visit_unit()
    }
}

struct Items<'a> {
    items: &'a [Node],
    idx: usize,
    de: NodeDe<'a>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Out<Option<T::Value>> {
        while let Some(node) = self.items.get(self.idx) {
            let path = Path::Item(self.de.path, self.idx);
            self.idx += 1;
            if !self.de.cx.is_removed(&path) {
                return seed.deserialize(NodeDe { node, path: &path, cx: self.de.cx }).map(Some);
            }
        }
        Ok(None)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.idx)
    }
}

/// The fields of the struct that is being decoded.
#[derive(Clone, Copy)]
struct Fields {
    block: &'static str,
    names: &'static [&'static str],
}

struct Entries<'a> {
    entries: &'a [(Key, Node)],
    de: NodeDe<'a>,
    fields: Option<Fields>,
    /// The key that was given out, until its value is asked for.
    current: Option<(&'a Key, &'a Node)>,
}

impl<'a> Entries<'a> {
    /// The next entry that the visitor should see, and the name it should see.
    fn pick(&mut self) -> Option<(&'a Key, &'a Node, &'a str)> {
        loop {
            let ((key, node), rest) = self.entries.split_first()?;
            self.entries = rest;
            let path = Path::Key(self.de.path, &key.text);
            let absent = || {
                let scalar = match &node.kind {
                    Kind::Scalar(scalar) => scalar.resolve() == Resolved::Null,
                    _ => false,
                };
                self.fields.is_some() && self.de.cx.rules.nulls == Nulls::Absent && scalar
            };
            if self.de.cx.is_removed(&path) || absent() {
                continue;
            }
            let Some(fields) = self.fields else { return Some((key, node, &key.text)) };
            if let Some(name) = self.known(fields, key) {
                return Some((key, node, name));
            }
            self.stranger(fields, key, &path);
        }
    }

    fn known(&self, fields: Fields, key: &'a Key) -> Option<&'a str> {
        let lenient = (self.de.cx.rules.is_lenient)(fields.block);
        let is_same = |name: &&&str| **name == key.text || (lenient && name.eq_ignore_ascii_case(&key.text));
        fields.names.iter().find(is_same).copied()
    }

    /// Reports a key that is no field.
    fn stranger(&self, fields: Fields, key: &Key, path: &Path<'_>) {
        let rules = self.de.cx.rules;
        let of_block = || rules.ignored.iter().filter(|ignored| ignored.block == fields.block);
        if let Some(ignored) = of_block().find(|ignored| ignored.keys.contains(&key.text.as_str())) {
            return self.de.cx.note_ignored(key.at, path.to_string(), &key.text, ignored.reason);
        }
        let mut refused = rules.refused.iter().filter(|refused| refused.block == fields.block);
        if let Some(refused) = refused.find(|refused| refused.keys.contains(&key.text.as_str())) {
            return self.de.cx.note(Severity::Error, key.at, path.to_string(), refused.reason.to_owned());
        }
        let known = fields.names.iter().chain(of_block().flat_map(|ignored| ignored.keys)).copied();
        let near = did_you_mean(&key.text, known);
        let (severity, effect) = match (rules.is_lenient)(fields.block) {
            true => (Severity::Warning, " is ignored"),
            false => (Severity::Error, ""),
        };
        self.de.cx.note(severity, key.at, path.to_string(), format!("unknown key{effect}{near}"));
    }
}

impl<'de> MapAccess<'de> for &mut Entries<'_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Out<Option<K::Value>> {
        let Some((key, node, name)) = self.pick() else { return Ok(None) };
        self.current = Some((key, node));
        seed.deserialize(IntoDeserializer::<DecodeError>::into_deserializer(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Out<V::Value> {
        let Some((key, node)) = self.current.take() else {
            return Err(DecodeError::new("a value was asked for before its key".to_owned()));
        };
        let path = Path::Key(self.de.path, &key.text);
        // A value reads from its key's line: for a block that is where a reader looks.
        let result = seed.deserialize(NodeDe { node, path: &path, cx: self.de.cx });
        result.map_err(|error| error.located(&path, node.at))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}
