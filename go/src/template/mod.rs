//! Go templates, as `line_format`, `label_format` and the collector's template stage take them.
//!
//! ```text
//! text -> lex -> parse -> trees --execute(data)--> bytes
//!                           '---- functions: a table, extensible
//! ```
//!
//! Parsed once, executed per line: text and plain `{{.label}}` actions are copied straight from where they lie, other
//! values borrow what they can. Errors read as Go's do, since users see them as `__error_details__`.
//!
//! Deviations from Go, all for the sake of the server: nesting, recursion, steps and sizes have bounds ([`STEPS_MAX`],
//! [`functions::STRING_BYTES_MAX`]), and there are no function values.
//!
//! ```
//! use logstack_go::template::{Lookup, Template, Value};
//!
//! struct Labels;
//! impl Lookup for Labels {
//!     fn get(&self, name: &str) -> Option<Value<'_>> {
//!         (name == "app").then(|| Value::from("web"))
//!     }
//!     fn entries(&self) -> Vec<(&str, Value<'_>)> {
//!         vec![("app", Value::from("web"))]
//!     }
//!     fn line(&self) -> &[u8] {
//!         b"GET /"
//!     }
//! }
//!
//! let template = Template::parse("line", "{{.app | upper}}: {{__line__}}{{.missing}}").unwrap();
//! let mut out = Vec::new();
//! template.execute(&Labels, &mut out).unwrap();
//! assert_eq!(out, b"WEB: GET /");
//! ```
//!
//! Source: Go, package text/template; contract logql.md, 6.

mod ast;
mod exec;
pub mod functions;
mod lex;
mod methods;
mod number;
mod parse;
mod print;
mod value;

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use crate::gotime::Zone;
use crate::re2::{self, NamedRegex};

pub use exec::{DEPTH_MAX, STEPS_MAX};
pub use functions::{Function, Functions};
pub use value::{Data, Elements, IntKind, List, Map, Value};

/// Why a template cannot be parsed or executed. Displays Go's message: `template: line:1: unclosed action`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError(String);

impl TemplateError {
    fn parse(name: &str, line: usize, message: &str) -> Self {
        Self(format!("template: {name}:{line}: {message}"))
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TemplateError {}

/// What a template is executed with.
pub trait Lookup {
    /// The value of `.name`.
    fn get(&self, name: &str) -> Option<Value<'_>>;

    /// All values by name, sorted: `{{.}}`, `{{range .}}`.
    fn entries(&self) -> Vec<(&str, Value<'_>)>;

    /// `__line__`
    fn line(&self) -> &[u8] {
        b""
    }

    /// `__timestamp__`, ns since the epoch.
    fn timestamp_ns(&self) -> i64 {
        0
    }

    /// `now`; tests have another.
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }

    /// The zone in which times are shown and read unless they say otherwise; the machine's.
    fn zone(&self) -> Zone {
        Zone::local()
    }
}

/// How a template is parsed and executed.
#[derive(Debug, Clone)]
pub struct Options<'f> {
    /// What it may call.
    pub functions: &'f Functions,
    /// What the data maps to. A missing key of [`Elements::Strings`] is the empty string, one of [`Elements::Any`] is
    /// no value at all and prints `<no value>`.
    pub data: Elements,
}

/// A parsed template. May be executed from several threads at once.
#[derive(Debug)]
pub struct Template {
    name: String,
    text: String,
    /// The main one first.
    trees: Vec<ast::Tree>,
    data: Elements,
    regexes: Regexes,
    references: References,
}

/// What a template looks at, so that nobody has to fetch anything else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Names looked up as `.name`, in order, each once. The data as a whole may be used besides.
    pub names: Vec<String>,
    /// The data as a whole is used (`.`, `$`): any name may matter.
    pub all: bool,
    /// `__line__` is called.
    pub line: bool,
    /// `__timestamp__` is called.
    pub timestamp: bool,
}

impl Template {
    /// Parses a template of `line_format` (named `line`) or `label_format` (named `label`).
    ///
    /// # Errors
    /// [`TemplateError`], with name and line of the mistake.
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateError> {
        Self::parse_with(name, text, &Options { functions: Functions::logql(), data: Elements::Strings })
    }

    /// Parses a template that has other functions, or other data.
    ///
    /// # Errors
    /// [`TemplateError`], with name and line of the mistake.
    pub fn parse_with(name: &str, text: &str, options: &Options<'_>) -> Result<Self, TemplateError> {
        let trees = parse::parse(name, text, options.functions)?;
        let mut facts = ast::Facts::default();
        trees.iter().for_each(|tree| facts.list(&tree.body));
        Ok(Self {
            name: name.to_owned(),
            text: text.to_owned(),
            trees,
            data: options.data,
            regexes: Regexes::compile(facts.patterns),
            references: facts.references,
        })
    }

    /// Appends the result for `data` to `out`.
    ///
    /// # Errors
    /// [`TemplateError`], with the place and text of what failed; `out` then has part of the result.
    pub fn execute<'a>(&'a self, data: &'a dyn Lookup, out: &mut Vec<u8>) -> Result<(), TemplateError> {
        exec::execute(self, data, out)
    }

    /// What the template looks at.
    pub fn references(&self) -> &References {
        &self.references
    }
}

/// Regular expressions of a template: its constants compiled with it, others cached by the thread.
#[derive(Debug, Default)]
pub(crate) struct Regexes(Vec<(Box<[u8]>, NamedRegex)>);

/// How many patterns that are no constants a thread remembers.
const CACHED_REGEXES_MAX: usize = 32;

impl Regexes {
    /// A constant that does not compile is an error only when it is used.
    fn compile(patterns: Vec<Box<[u8]>>) -> Self {
        let compiled = patterns.into_iter().filter_map(|pattern| {
            let regex = compile_regex(&pattern).ok()?;
            Some((pattern, regex))
        });
        Self(compiled.collect())
    }

    /// Calls `f` with the compiled `pattern`.
    fn with<T>(&self, pattern: &[u8], f: impl FnOnce(&NamedRegex) -> T) -> Result<T, re2::Error> {
        thread_local! {
            /// Most recently used last.
            static CACHE: RefCell<Vec<(Box<[u8]>, NamedRegex)>> = const { RefCell::new(Vec::new()) };
        }
        if let Some((_, regex)) = self.0.iter().find(|(known, _)| **known == *pattern) {
            return Ok(f(regex));
        }
        let cached = CACHE.with_borrow_mut(|cache| {
            let idx = cache.iter().position(|(known, _)| **known == *pattern)?;
            let entry = cache.remove(idx);
            let regex = entry.1.clone();
            cache.push(entry);
            Some(regex)
        });
        if let Some(regex) = cached {
            return Ok(f(&regex));
        }
        let regex = compile_regex(pattern)?;
        CACHE.with_borrow_mut(|cache| {
            if cache.len() >= CACHED_REGEXES_MAX {
                cache.remove(0);
            }
            cache.push((pattern.into(), regex.clone()));
        });
        Ok(f(&regex))
    }
}

fn compile_regex(pattern: &[u8]) -> Result<NamedRegex, re2::Error> {
    let pattern: Cow<'_, str> = String::from_utf8_lossy(pattern);
    re2::compile_named(&pattern)
}

#[cfg(test)]
mod tests;
