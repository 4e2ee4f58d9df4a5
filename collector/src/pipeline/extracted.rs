//! The extracted map: what stages take out of a line, for later stages.
//!
//! Slots keep their text's capacity from line to line, so that a steady pipeline allocates nothing. The labels that an
//! entry starts with belong to the map too; they are looked up where they lie and not copied.

use std::sync::Arc;

use logstack_go::template;

/// The type of an extracted value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A number, its text as a label would have it.
    Number,
    /// `true` or `false`.
    Bool,
    /// JSON's null: there, and cannot be converted to a string.
    Null,
    /// Removed; hides a label of that name.
    Absent,
}

/// An extracted value: its type and its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    /// Its type.
    pub kind: Kind,
    /// As a string; empty for null.
    pub text: &'a str,
}

impl<'a> Value<'a> {
    /// As a string; `None` for null.
    pub fn string(self) -> Option<&'a str> {
        (self.kind != Kind::Null).then_some(self.text)
    }

    /// As templates see it: a string, whatever it was in the line.
    pub fn for_template(self) -> template::Value<'a> {
        match self.kind {
            Kind::Text | Kind::Bool | Kind::Number => template::Value::from(self.text),
            Kind::Null | Kind::Absent => template::Value::Nil,
        }
    }
}

#[derive(Debug, Clone)]
struct Slot {
    name: Arc<str>,
    kind: Kind,
    text: String,
}

/// Extracted values by name.
#[derive(Debug, Default)]
pub struct Extracted {
    slots: Vec<Slot>,
    used: usize,
}

/// Unused slots are not worth copying.
impl Clone for Extracted {
    fn clone(&self) -> Self {
        Self { slots: self.slots[..self.used].to_vec(), used: self.used }
    }
}

impl Extracted {
    /// Forgets all values.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// The value of `name`; `Some` of kind [`Kind::Absent`] when it was removed.
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        let slot = self.slots[..self.used].iter().find(|slot| *slot.name == *name)?;
        Some(Value { kind: slot.kind, text: &slot.text })
    }

    /// Sets `name`.
    pub fn set(&mut self, name: &Arc<str>, kind: Kind, text: &str) {
        let buffer = self.slot(name, kind);
        buffer.push_str(text);
    }

    /// Sets `name` to a string of bytes; what is no UTF-8 becomes U+FFFD.
    pub fn set_bytes(&mut self, name: &Arc<str>, text: &[u8]) {
        let buffer = self.slot(name, Kind::Text);
        match std::str::from_utf8(text) {
            Ok(text) => buffer.push_str(text),
            Err(_) => buffer.push_str(&String::from_utf8_lossy(text)),
        }
    }

    /// The emptied text of `name`, to be written by the caller.
    pub fn slot(&mut self, name: &Arc<str>, kind: Kind) -> &mut String {
        let found = self.slots[..self.used].iter().position(|slot| Arc::ptr_eq(&slot.name, name) || slot.name == *name);
        let idx = found.unwrap_or_else(|| {
            if self.used == self.slots.len() {
                self.slots.push(Slot { name: name.clone(), kind, text: String::new() });
            }
            self.used += 1;
            self.used - 1
        });
        let slot = &mut self.slots[idx];
        if found.is_none() {
            slot.name = name.clone();
        }
        slot.kind = kind;
        slot.text.clear();
        &mut slot.text
    }

    /// All names that were set, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.slots[..self.used].iter().map(|slot| (&*slot.name, Value { kind: slot.kind, text: &slot.text }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_again_without_a_second_slot() {
        let mut extracted = Extracted::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        extracted.set(&a, Kind::Text, "long enough");
        extracted.set(&b, Kind::Number, "2");
        extracted.set(&"a".into(), Kind::Null, "");
        assert_eq!(extracted.get("a"), Some(Value { kind: Kind::Null, text: "" }));
        assert_eq!(extracted.iter().count(), 2);
        extracted.clear();
        assert_eq!(extracted.get("b"), None);
        extracted.set_bytes(&b, b"x\xff");
        assert_eq!(extracted.get("b").unwrap().string(), Some("x\u{fffd}"));
    }
}
