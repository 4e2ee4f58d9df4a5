//! serde's view of a node: scalars by Go's rules, structs that report strangers and go on.

use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor};

use super::decode::{Cx, DecodeError, Nulls, Path};
use super::node::{Key, Kind, Node};
use super::scalar::Resolved;
use crate::finding::{Severity, did_you_mean};

/// A node as serde's source of a value.
#[derive(Clone, Copy)]
pub(super) struct NodeDe<'a> {
    pub node: &'a Node,
    pub path: &'a Path<'a>,
    pub cx: &'a Cx<'a>,
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
