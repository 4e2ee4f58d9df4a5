//! Values in a template, typed as Go types them: error messages and printing show the types, `eq` refuses to mix them.

use std::borrow::Cow;
use std::rc::Rc;

use super::Lookup;
use super::print::write_plain;
use crate::gotime::GoTime;

/// A value. Strings are bytes: a template may cut a character in two, and lines are bytes anyway.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// No value at all: a missing key, JSON's null.
    Nil,
    /// `bool`
    Bool(bool),
    /// An integer of some type.
    Int(IntKind, i64),
    /// `float64`
    Float(f64),
    /// `complex128`: real and imaginary part.
    Complex(f64, f64),
    /// `string`
    Str(Cow<'a, [u8]>),
    List(List<'a>),
    /// A map with string keys.
    Map(Rc<Map<'a>>),
    /// The data of the template.
    Data(Data<'a>),
    /// `time.Time`
    Time(Box<GoTime>),
}

/// The types of integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntKind {
    /// `int`: constants, lengths.
    Int,
    /// `int64`: arithmetic.
    Int64,
    /// `uint8`: a byte of a string.
    Uint8,
    /// `time.Duration`, in ns.
    Duration,
    /// `time.Month`, from 1.
    Month,
    /// `time.Weekday`, Sunday is 0.
    Weekday,
}

/// What the elements of a list or map are declared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elements {
    /// `interface {}`: of any type.
    Any,
    /// `string`
    Strings,
}

/// A slice; cheap to clone and to cut.
#[derive(Debug, Clone)]
pub struct List<'a> {
    all: Rc<[Value<'a>]>,
    start: usize,
    end: usize,
    /// What it is a slice of.
    pub elements: Elements,
}

impl<'a> List<'a> {
    /// A list of `values`.
    pub fn new(values: Vec<Value<'a>>, elements: Elements) -> Self {
        Self { start: 0, end: values.len(), all: values.into(), elements }
    }

    pub fn values(&self) -> &[Value<'a>] {
        &self.all[self.start..self.end]
    }

    /// The part `from..to`; the caller has checked that it lies inside.
    #[must_use]
    pub fn cut(&self, from: usize, to: usize) -> Self {
        debug_assert!(from <= to && to <= self.end - self.start);
        Self { all: Rc::clone(&self.all), start: self.start + from, end: self.start + to, elements: self.elements }
    }
}

/// A map with string keys, sorted by them: templates never see another order.
#[derive(Debug, Clone)]
pub struct Map<'a> {
    entries: Vec<(Cow<'a, [u8]>, Value<'a>)>,
    /// What it maps to.
    pub elements: Elements,
}

impl<'a> Map<'a> {
    /// A map of `entries`; of equal keys the last wins.
    pub fn new(mut entries: Vec<(Cow<'a, [u8]>, Value<'a>)>, elements: Elements) -> Self {
        // Stable, and reversed, so that the first of equal keys is the last given.
        entries.reverse();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.dedup_by(|later, kept| later.0 == kept.0);
        Self { entries, elements }
    }

    /// The value at `key`.
    pub fn get(&self, key: &[u8]) -> Option<&Value<'a>> {
        let idx = self.entries.binary_search_by(|entry| (*entry.0).cmp(key)).ok()?;
        Some(&self.entries[idx].1)
    }

    /// Pairs in key order.
    pub fn entries(&self) -> &[(Cow<'a, [u8]>, Value<'a>)] {
        &self.entries
    }
}

/// The data of the template, looked up where it lies.
#[derive(Clone, Copy)]
pub struct Data<'a> {
    pub(super) lookup: &'a dyn Lookup,
    pub(super) elements: Elements,
}

impl std::fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.lookup.entries()).finish()
    }
}

impl<'a> Value<'a> {
    /// A string of bytes that outlive the execution.
    pub fn bytes(text: &'a [u8]) -> Self {
        Self::Str(Cow::Borrowed(text))
    }

    /// An `int`.
    pub fn int(value: i64) -> Self {
        Self::Int(IntKind::Int, value)
    }

    /// An `int64`.
    pub fn int64(value: i64) -> Self {
        Self::Int(IntKind::Int64, value)
    }

    /// The type as error messages name it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(kind, _) => match kind {
                IntKind::Int => "int",
                IntKind::Int64 => "int64",
                IntKind::Uint8 => "uint8",
                IntKind::Duration => "time.Duration",
                IntKind::Month => "time.Month",
                IntKind::Weekday => "time.Weekday",
            },
            Self::Float(_) => "float64",
            Self::Complex(..) => "complex128",
            Self::Str(_) => "string",
            Self::List(list) => match list.elements {
                Elements::Any => "[]interface {}",
                Elements::Strings => "[]string",
            },
            Self::Map(_) | Self::Data(_) => match self.map_elements() {
                Some(Elements::Strings) => "map[string]string",
                _ => "map[string]interface {}",
            },
            Self::Time(_) => "time.Time",
        }
    }

    /// For a map: what it maps to.
    pub(super) fn map_elements(&self) -> Option<Elements> {
        match self {
            Self::Map(map) => Some(map.elements),
            Self::Data(data) => Some(data.elements),
            _ => None,
        }
    }

    /// For a map: the value at `key`; `Err`: it is no map.
    pub(super) fn at_key(&self, key: &[u8]) -> Result<Option<Self>, ()> {
        match self {
            Self::Map(map) => Ok(map.get(key).cloned()),
            // A name that is no UTF-8 names nothing.
            Self::Data(data) => Ok(std::str::from_utf8(key).ok().and_then(|key| data.lookup.get(key))),
            _ => Err(()),
        }
    }

    /// For a map: its pairs by key.
    pub(super) fn map_entries(&self) -> Option<Vec<(Cow<'a, [u8]>, Self)>> {
        match self {
            Self::Map(map) => Some(map.entries.clone()),
            Self::Data(data) => {
                let entries = data.lookup.entries();
                Some(entries.into_iter().map(|(name, value)| (Cow::Borrowed(name.as_bytes()), value)).collect())
            }
            _ => None,
        }
    }

    /// For what has a length: it.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::Str(text) => Some(text.len()),
            Self::List(list) => Some(list.values().len()),
            Self::Map(map) => Some(map.entries.len()),
            Self::Data(data) => Some(data.lookup.entries().len()),
            _ => None,
        }
    }

    /// As `print` shows it (`%v`): a string as it is, nothing as `<nil>`.
    pub fn text(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Str(text) => Cow::Borrowed(text),
            other => {
                let mut out = Vec::new();
                write_plain(&mut out, other);
                Cow::Owned(out)
            }
        }
    }

    /// As `if` sees it: neither nothing, nor zero, nor empty.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(_, value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Complex(real, imaginary) => *real != 0.0 || *imaginary != 0.0,
            Self::Time(_) => true,
            Self::Str(_) | Self::List(_) | Self::Map(_) | Self::Data(_) => self.len() != Some(0),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::bytes(text.as_bytes())
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Str(Cow::Owned(text.into_bytes()))
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(text: Vec<u8>) -> Self {
        Self::Str(Cow::Owned(text))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<GoTime> for Value<'_> {
    fn from(time: GoTime) -> Self {
        Self::Time(Box::new(time))
    }
}
