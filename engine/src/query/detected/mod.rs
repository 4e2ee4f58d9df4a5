//! Which fields the lines of a query have: a look at the newest ones.
//!
//! A line's fields are its structured metadata, what the query's own pipeline made, and what a JSON parser finds, or
//! logfmt where the line is no JSON. Clients tell "already a label" from "needs a parser" by `parsers`.
//!
//! Source: contract http-api.md, 1.13.

mod json_path;

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use logstack_go::units::{parse_bytes, parse_float, parse_go_duration, parse_int};
use logstack_logql::ast::{LogExpr, Stage};
use logstack_logql::pipeline::{Category, Entry, Pipeline, Scratch, StreamContext, Wanted};

use super::request::{Direction, RangeQuery, StreamResult};
use super::{Caller, Control, Engine, Error, log};

/// A question about fields.
#[derive(Debug, Clone)]
pub struct FieldsQuery {
    /// A log query.
    pub text: String,
    /// Included.
    pub start_ns: i64,
    /// Excluded.
    pub end_ns: i64,
    /// Newest lines that are looked at.
    pub line_limit: usize,
    /// Most fields, or values.
    pub limit: usize,
}

/// A field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its label name.
    pub label: String,
    /// What its values are.
    pub kind: FieldKind,
    /// Number of values seen.
    pub cardinality: usize,
    /// What finds it in the line; none: it is a label already.
    pub parsers: Vec<Parser>,
    /// Where JSON has it, key by key; empty: not in JSON.
    pub json_path: Vec<String>,
}

/// Parsers that find fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "named as in LogQL")]
pub enum Parser {
    Json,
    Logfmt,
}

impl Parser {
    /// As in LogQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Logfmt => "logfmt",
        }
    }
}

/// What values look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum FieldKind {
    Int,
    Float,
    Boolean,
    Duration,
    Bytes,
    Text,
}

impl FieldKind {
    /// The first that fits.
    fn of(value: &str) -> Self {
        if parse_int(value).is_ok() {
            Self::Int
        } else if parse_float(value).is_ok() {
            Self::Float
        } else if matches!(value, "t" | "T" | "true" | "TRUE" | "True" | "f" | "F" | "false" | "FALSE" | "False") {
            Self::Boolean
        } else if parse_go_duration(value).is_ok() {
            Self::Duration
        } else if parse_bytes(value).is_ok() {
            Self::Bytes
        } else {
            Self::Text
        }
    }

    /// As clients read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Duration => "duration",
            Self::Bytes => "bytes",
            Self::Text => "string",
        }
    }
}

impl Engine {
    /// The fields of the newest lines, by name.
    ///
    /// # Errors
    /// As a log query.
    pub fn detected_fields(
        &self,
        caller: &Caller,
        query: &FieldsQuery,
        control: Arc<Control>,
    ) -> Result<Vec<Field>, Error> {
        let streams = self.newest_lines(caller, query, control)?;
        let mut seen: HashMap<String, Seen> = HashMap::new();
        visit_fields(&streams, |name, value, parser, path| {
            if !seen.contains_key(name) {
                if seen.len() >= query.limit {
                    return;
                }
                seen.insert(name.to_owned(), Seen::default());
            }
            if let Some(seen) = seen.get_mut(name) {
                seen.add(value, parser, path);
            }
        })?;
        let mut fields: Vec<Field> = seen.into_iter().map(|(label, seen)| seen.into_field(label)).collect();
        fields.sort_by(|a, b| a.label.cmp(&b.label));
        Ok(fields)
    }

    /// The values of one field of the newest lines, sorted; the first `limit` that are met.
    ///
    /// # Errors
    /// As a log query.
    pub fn detected_values(
        &self,
        caller: &Caller,
        name: &str,
        query: &FieldsQuery,
        control: Arc<Control>,
    ) -> Result<Vec<String>, Error> {
        let streams = self.newest_lines(caller, query, control)?;
        let mut values: HashSet<String> = HashSet::new();
        visit_fields(&streams, |field, value, _, _| {
            if field == name && values.len() < query.limit && !values.contains(value) {
                values.insert(value.to_owned());
            }
        })?;
        let mut values: Vec<String> = values.into_iter().collect();
        values.sort();
        Ok(values)
    }

    fn newest_lines(
        &self,
        caller: &Caller,
        query: &FieldsQuery,
        control: Arc<Control>,
    ) -> Result<Vec<StreamResult>, Error> {
        let expr: LogExpr =
            logstack_logql::parse_log_selector(&query.text).map_err(|error| Error::refused(error.to_string()))?;
        super::admission::check_length(query.end_ns.saturating_sub(query.start_ns), &caller.limits)?;
        let evaluation = self.evaluation(caller, control);
        let query = RangeQuery {
            text: String::new(),
            start_ns: query.start_ns,
            end_ns: query.end_ns,
            step_ns: 1,
            interval_ns: 0,
            limit: query.line_limit,
            direction: Direction::Backward,
            categorize_labels: true,
            partial_series: false,
            explain: false,
        };
        log::run(&evaluation, &expr, &query)
    }
}

/// What is known of a field.
#[derive(Default)]
struct Seen {
    values: HashSet<String>,
    kind: Option<FieldKind>,
    parsers: Vec<Parser>,
    json_path: Vec<String>,
}

impl Seen {
    fn add(&mut self, value: &str, parser: Option<Parser>, path: Option<&[String]>) {
        if !self.values.contains(value) {
            self.values.insert(value.to_owned());
        }
        // The values of a field are of one kind and in one place; where they are not, the last one speaks, as in Loki.
        self.kind = Some(FieldKind::of(value));
        if let Some(parser) = parser
            && !self.parsers.contains(&parser)
        {
            self.parsers.push(parser);
            self.parsers.sort_unstable();
        }
        if let Some(path) = path {
            self.json_path = path.to_vec();
        }
    }

    fn into_field(self, label: String) -> Field {
        Field {
            label,
            kind: self.kind.unwrap_or(FieldKind::Text),
            cardinality: self.values.len(),
            parsers: self.parsers,
            json_path: self.json_path,
        }
    }
}

/// Hands every field of every line to `see`: name, value, parser, path in JSON.
fn visit_fields(
    streams: &[StreamResult],
    mut see: impl FnMut(&str, &str, Option<Parser>, Option<&[String]>),
) -> Result<(), Error> {
    let json = Stage::Json { extractions: Vec::new() };
    let logfmt = Stage::Logfmt { strict: false, keep_empty: false, extractions: Vec::new() };
    let json = Pipeline::compile(&[json], None, &Wanted::All)?;
    let logfmt = Pipeline::compile(&[logfmt], None, &Wanted::All)?;
    let (mut json_scratch, mut logfmt_scratch) = (json.scratch(), logfmt.scratch());
    for stream in streams {
        let context = StreamContext::new(stream.labels.clone());
        for line in &stream.entries {
            let extra = line.extra.as_deref();
            for (name, value) in extra.map(|extra| extra.metadata.as_slice()).unwrap_or_default() {
                see(name, value, None, None);
            }
            let entry = Entry { timestamp_ns: line.timestamp_ns, line: &line.line, metadata: &[] };
            let (parser, found) = match parse(&json, &context, &entry, &mut json_scratch) {
                Some(found) => (Parser::Json, found),
                None => (Parser::Logfmt, parse(&logfmt, &context, &entry, &mut logfmt_scratch).unwrap_or_default()),
            };
            let paths = if parser == Parser::Json { json_path::paths(&line.line) } else { HashMap::new() };
            let by_query = extra.map(|extra| extra.parsed.as_slice()).unwrap_or_default();
            let by_query = by_query.iter().map(|(name, value)| (&**name, &**value));
            let found = found.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            for (name, value) in by_query.chain(found) {
                if matches!(name, "__error__" | "__error_details__") {
                    continue;
                }
                // A name that a stream label has was extended by the parser.
                let own = name.strip_suffix("_extracted").filter(|own| stream.labels.get(own).is_some());
                let path = own.and_then(|own| paths.get(own)).or_else(|| paths.get(name));
                see(name, value, Some(parser), path.map(Vec::as_slice));
            }
        }
    }
    Ok(())
}

/// The labels that a parser finds; `None` when it fails.
fn parse(
    pipeline: &Pipeline,
    stream: &StreamContext,
    entry: &Entry<'_>,
    scratch: &mut Scratch,
) -> Option<Vec<(String, String)>> {
    let output = pipeline.run(stream, entry, scratch)?;
    // A line may bring a label `__error__` of its own.
    if matches!(output.error(), Some("JSONParserErr" | "LogfmtParserErr")) {
        return None;
    }
    let labels = output.labels().filter(|label| label.2 == Category::Parsed);
    Some(labels.map(|(name, value, _)| (name.to_owned(), value.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_values() {
        #[track_caller]
        fn check(value: &str, want: &str) {
            assert_eq!(FieldKind::of(value).as_str(), want, "{value}");
        }
        check("17", "int");
        check("-1.5", "float");
        check("true", "boolean");
        check("2.5s", "duration");
        check("20KB", "bytes");
        check("GET", "string");
        check("", "string");
    }
}
