//! The functions that templates can call: Go's own, and those that Loki adds.
//!
//! A function is data: its name, the types of its parameters (the executor checks them, with Go's messages) and a body
//! that may rely on them. Another program adds its own: see [`Functions::with`].
//!
//! Source: contract logql.md, 6.1; Go, package text/template; Loki, "Template functions"; sprig.

mod builtin;
mod cast;
mod compare;
mod dates;
mod decimal;
mod encoding;
mod json;
mod math;
mod regexes;
mod strings;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use smallvec::SmallVec;

use super::value::{IntKind, Value};
use super::{Lookup, Regexes};
use crate::gotime::GoTime;
use crate::re2::NamedRegex;

pub use cast::{to_float64, to_int64};

/// Largest string that a function may make. A template of a few bytes can ask for any size.
pub const STRING_BYTES_MAX: usize = 16 << 20;

/// A function of templates.
#[derive(Debug)]
pub struct Function {
    /// As templates call it.
    pub name: &'static str,
    /// Types of the parameters.
    pub params: &'static [Param],
    /// Type of any further arguments; `None`: there may be none.
    pub variadic: Option<Param>,
    /// Which argument is a regular expression, so that a constant one is compiled with the template.
    pub pattern: Option<usize>,
    pub body: Body,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// `bool`
    Bool,
    /// `int`, and no other integer type.
    Int,
    /// `time.Duration`
    Duration,
    /// `float64`
    Float,
    /// `string`
    Str,
    /// `time.Time`
    Time,
    /// `interface {}`: anything.
    Any,
    /// Anything, as the builtin functions take it.
    Raw,
}

impl Param {
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Duration => "time.Duration",
            Self::Float => "float64",
            Self::Str => "string",
            Self::Time => "time.Time",
            Self::Any => "interface {}",
            Self::Raw => "reflect.Value",
        }
    }

    /// True when no value at all may stand there.
    pub(super) fn can_be_nil(self) -> bool {
        matches!(self, Self::Any | Self::Raw)
    }

    pub(super) fn accepts(self, value: &Value<'_>) -> bool {
        match self {
            Self::Any | Self::Raw => true,
            Self::Bool => matches!(value, Value::Bool(_)),
            Self::Int => matches!(value, Value::Int(IntKind::Int, _)),
            Self::Duration => matches!(value, Value::Int(IntKind::Duration, _)),
            Self::Float => matches!(value, Value::Float(_)),
            Self::Str => matches!(value, Value::Str(_)),
            Self::Time => matches!(value, Value::Time(_)),
        }
    }
}

/// What a function does.
#[derive(Debug, Clone, Copy)]
pub enum Body {
    /// It is called with its arguments, which have the declared types.
    Call(for<'a> fn(&mut Call<'a>) -> Result<Value<'a>, CallError>),
    /// `and`: arguments are evaluated only up to the first false one.
    And,
    /// `or`: arguments are evaluated only up to the first true one.
    Or,
    /// `call`: needs the text of its first argument for messages.
    CallValue,
}

/// Why a function failed: `error calling NAME: ` and this text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError(pub String);

impl<T: Into<String>> From<T> for CallError {
    fn from(message: T) -> Self {
        Self(message.into())
    }
}

/// The arguments of a call.
pub type Args<'a> = SmallVec<[Value<'a>; 4]>;

/// One call of a function.
pub struct Call<'a> {
    pub(super) args: Args<'a>,
    pub(super) data: &'a dyn Lookup,
    pub(super) regexes: &'a Regexes,
}

impl<'a> Call<'a> {
    pub fn args(&self) -> &[Value<'a>] {
        &self.args
    }

    /// What the template was executed with.
    pub fn data(&self) -> &'a dyn Lookup {
        self.data
    }

    /// Takes argument `idx` out.
    pub fn take(&mut self, idx: usize) -> Value<'a> {
        std::mem::replace(&mut self.args[idx], Value::Nil)
    }

    /// Takes argument `idx`, declared as [`Param::Str`].
    pub fn take_str(&mut self, idx: usize) -> Cow<'a, [u8]> {
        match self.take(idx) {
            Value::Str(text) => text,
            other => unreachable!("argument {idx} was checked to be a string: {other:?}"),
        }
    }

    /// Argument `idx`, declared as [`Param::Str`].
    pub fn str(&self, idx: usize) -> &[u8] {
        match &self.args[idx] {
            Value::Str(text) => text,
            other => unreachable!("argument {idx} was checked to be a string: {other:?}"),
        }
    }

    /// Argument `idx`, declared as [`Param::Int`] or [`Param::Duration`].
    pub fn int(&self, idx: usize) -> i64 {
        match &self.args[idx] {
            Value::Int(_, value) => *value,
            other => unreachable!("argument {idx} was checked to be an integer: {other:?}"),
        }
    }

    /// Calls `f` with the compiled regular expression `pattern`: at hand if it is a constant of the template (see
    /// [`Function::pattern`]) or was used of late.
    ///
    /// # Errors
    /// What is wrong with the pattern, in Go's words.
    pub fn with_regex<T>(&self, pattern: &[u8], f: impl FnOnce(&NamedRegex) -> T) -> Result<T, CallError> {
        self.regexes.with(pattern, f).map_err(|error| CallError(error.to_string()))
    }

    /// Argument `idx`, declared as [`Param::Time`].
    pub fn time(&self, idx: usize) -> &GoTime {
        match &self.args[idx] {
            Value::Time(time) => time,
            other => unreachable!("argument {idx} was checked to be a time: {other:?}"),
        }
    }
}

/// The functions that a template may call, by name.
#[derive(Debug, Clone)]
pub struct Functions(HashMap<&'static str, &'static Function>);

impl Functions {
    /// Go's own: `and`, `eq`, `index`, `len`, `printf` …
    pub fn go() -> Self {
        Self(HashMap::new()).with(builtin::FUNCTIONS).with(compare::FUNCTIONS)
    }

    /// Those of `line_format` and `label_format`.
    pub fn logql() -> &'static Self {
        static LOGQL: LazyLock<Functions> = LazyLock::new(|| {
            Functions::go()
                .with(strings::FUNCTIONS)
                .with(regexes::FUNCTIONS)
                .with(math::FUNCTIONS)
                .with(dates::FUNCTIONS)
                .with(encoding::FUNCTIONS)
        });
        &LOGQL
    }

    /// These and `more`; of two with one name the later wins.
    #[must_use]
    pub fn with(mut self, more: &'static [Function]) -> Self {
        self.0.extend(more.iter().map(|function| (function.name, function)));
        self
    }

    /// These without `names`.
    #[must_use]
    pub fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|name, _| !names.contains(name));
        self
    }

    /// The function called `name`.
    pub fn get(&self, name: &str) -> Option<&'static Function> {
        self.0.get(name).copied()
    }
}

/// A function of fixed parameters.
pub const fn function(
    name: &'static str,
    params: &'static [Param],
    body: for<'a> fn(&mut Call<'a>) -> Result<Value<'a>, CallError>,
) -> Function {
    Function { name, params, variadic: None, pattern: None, body: Body::Call(body) }
}

/// A function that takes any number of `variadic` behind its parameters.
pub const fn variadic(
    name: &'static str,
    params: &'static [Param],
    variadic: Param,
    body: for<'a> fn(&mut Call<'a>) -> Result<Value<'a>, CallError>,
) -> Function {
    Function { name, params, variadic: Some(variadic), pattern: None, body: Body::Call(body) }
}

/// Fails when a string of `len` bytes would be too large to make.
pub fn check_size(len: usize) -> Result<(), CallError> {
    if len > STRING_BYTES_MAX {
        return Err(CallError(format!("result of {len} bytes is larger than {STRING_BYTES_MAX}")));
    }
    Ok(())
}

/// The part `range` of `text`, without copying what is borrowed.
pub fn part(text: Cow<'_, [u8]>, range: std::ops::Range<usize>) -> Value<'_> {
    match text {
        Cow::Borrowed(text) => Value::bytes(&text[range]),
        Cow::Owned(mut text) => {
            text.truncate(range.end);
            text.drain(..range.start);
            Value::from(text)
        }
    }
}
