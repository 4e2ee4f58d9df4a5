//! Resources, scopes and records to streams and entries.

use std::io::Write as _;
use std::ops::Range;

use super::{Action, AttributeRules, KeyValue, OtlpRules, Record, Scope, Value};
use crate::ingest::budget::Share;
use crate::ingest::decode::{BODY_BYTES_MAX, Decoded, Error, LabelSource, Span};
use crate::ingest::metadata::normalize_name;

/// What a stream without any name for its service is called.
const UNKNOWN_SERVICE: &[u8] = b"unknown_service";

/// Builds a [`Decoded`] out of resources, scopes and records, in this order. Texts are copied: the body is not needed
/// afterwards.
#[derive(Debug)]
pub struct Builder<'r> {
    rules: &'r OtlpRules,
    /// For records without any time.
    now_ns: i64,
    out: Decoded,
    /// Labels of the resource, of `out.pairs`.
    labels: Range<usize>,
    /// Metadata of the resource, then the same followed by that of the scope.
    resource_metadata: Range<usize>,
    shared_metadata: Range<usize>,
    /// A stream of just the resource's labels is the last one.
    is_open: bool,
    /// Joined names of nested attributes.
    path: Vec<u8>,
}

/// Where a pair goes.
struct Destinations {
    labels: Vec<(Span, Span)>,
    metadata: Vec<(Span, Span)>,
}

impl<'r> Builder<'r> {
    /// Starts a request; `share` pays for what is built.
    pub fn new(rules: &'r OtlpRules, now_ns: i64, share: Share) -> Self {
        Self {
            rules,
            now_ns,
            out: Decoded::new(Vec::new(), share),
            labels: 0..0,
            resource_metadata: 0..0,
            shared_metadata: 0..0,
            is_open: false,
            path: Vec::new(),
        }
    }

    /// What was built.
    pub fn finish(self) -> Decoded {
        self.out
    }

    /// Starts a resource.
    ///
    /// # Errors
    /// [`Error::Memory`], here and below.
    pub fn resource(&mut self, attributes: &[KeyValue<'_>]) -> Result<(), Error> {
        let mut to = Destinations { labels: Vec::new(), metadata: Vec::new() };
        let rules = self.rules;
        self.attributes(&rules.resource, attributes, &mut to)?;
        if !rules.service_labels.is_empty() {
            self.service_name(attributes, &mut to)?;
        }
        self.labels = self.pairs(&to.labels)?;
        self.resource_metadata = self.pairs(&to.metadata)?;
        self.shared_metadata = self.resource_metadata.clone();
        self.is_open = false;
        Ok(())
    }

    /// `service.name` names the service; else the first attribute, in their order, whose label may.
    fn service_name(&mut self, attributes: &[KeyValue<'_>], to: &mut Destinations) -> Result<(), Error> {
        let is_named = |kv: &KeyValue<'_>| {
            *kv.key == *b"service.name" && !matches!(&kv.value, Value::Empty) && text_len(&kv.value) > 0
        };
        if attributes.iter().any(is_named) {
            return Ok(());
        }
        let bytes = &self.out.bytes;
        let may_name = |&&(name, value): &&(Span, Span)| {
            !value.is_empty() && self.rules.service_labels.iter().any(|label| **label == *name.of(bytes))
        };
        let found = to.labels.iter().find(may_name).map(|&(_, value)| value);
        let value = match found {
            Some(value) => value,
            None => self.text(|out| out.extend_from_slice(UNKNOWN_SERVICE))?,
        };
        let name = self.text(|out| out.extend_from_slice(b"service_name"))?;
        to.labels.push((name, value));
        Ok(())
    }

    /// Starts a scope of the resource.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn scope(&mut self, scope: &Scope<'_>) -> Result<(), Error> {
        let mut to = Destinations { labels: Vec::new(), metadata: Vec::new() };
        let rules = self.rules;
        self.attributes(&rules.scope, &scope.attributes, &mut to)?;
        for (name, text) in [("scope_name", &scope.name), ("scope_version", &scope.version)] {
            if !text.is_empty() {
                self.metadata(&mut to, name, |out| out.extend_from_slice(text))?;
            }
        }
        if scope.dropped_attributes_count != 0 {
            let count = scope.dropped_attributes_count;
            self.metadata(&mut to, "scope_dropped_attributes_count", |out| drop(write!(out, "{count}")))?;
        }
        // An entry's shared pairs are one range: the resource's are written again before the scope's.
        let start = self.out.pairs.len();
        for idx in self.resource_metadata.clone() {
            let (name, value) = self.out.pairs[idx];
            self.out.push_pair(name, value)?;
        }
        self.pairs(&to.metadata)?;
        self.shared_metadata = start..self.out.pairs.len();
        Ok(())
    }

    /// Adds a record of the scope.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn record(&mut self, record: &Record<'_>) -> Result<(), Error> {
        let mut to = Destinations { labels: Vec::new(), metadata: Vec::new() };
        let rules = self.rules;
        self.attributes(&rules.record, &record.attributes, &mut to)?;
        self.record_fields(record, &mut to)?;

        if !to.labels.is_empty() {
            // Labels of its own: a stream of its own. Equal streams find each other again when they are resolved.
            let start = self.out.pairs.len();
            for idx in self.labels.clone() {
                let (name, value) = self.out.pairs[idx];
                self.out.push_pair(name, value)?;
            }
            self.pairs(&to.labels)?;
            let labels = start..self.out.pairs.len();
            self.out.push_stream(LabelSource::Pairs(labels))?;
            self.is_open = false;
        } else if !self.is_open {
            self.out.push_stream(LabelSource::Pairs(self.labels.clone()))?;
            self.is_open = true;
        }
        let own = self.pairs(&to.metadata)?;
        let line = self.text(|out| record.body.write_text(out))?;
        let time_ns = [record.time_ns, record.observed_time_ns].into_iter().find(|&ns| ns != 0);
        let timestamp_ns = time_ns.map_or(self.now_ns, |ns| i64::try_from(ns).unwrap_or(i64::MAX));
        self.out.push_entry(timestamp_ns, line, self.shared_metadata.clone(), own)
    }

    /// What a record says of itself beside its attributes.
    fn record_fields(&mut self, record: &Record<'_>, to: &mut Destinations) -> Result<(), Error> {
        let numbers = [
            ("severity_number", i64::from(record.severity_number)),
            ("flags", i64::from(record.flags)),
            ("dropped_attributes_count", i64::from(record.dropped_attributes_count)),
        ];
        for (name, number) in numbers {
            if number != 0 {
                self.metadata(to, name, |out| drop(write!(out, "{number}")))?;
            }
        }
        if !record.severity_text.is_empty() {
            let name = self.text(|out| out.extend_from_slice(b"severity_text"))?;
            let value = self.text(|out| out.extend_from_slice(&record.severity_text))?;
            let pairs = if self.rules.severity_text_as_label { &mut to.labels } else { &mut to.metadata };
            pairs.push((name, value));
        }
        for (name, id) in [("trace_id", &record.trace_id), ("span_id", &record.span_id)] {
            if id.iter().any(|&byte| byte != 0) {
                self.metadata(to, name, |out| id.iter().for_each(|byte| drop(write!(out, "{byte:02x}"))))?;
            }
        }
        if record.time_ns != 0 && record.observed_time_ns != 0 {
            let ns = record.observed_time_ns;
            self.metadata(to, "observed_timestamp", |out| drop(write!(out, "{ns}")))?;
        }
        Ok(())
    }

    fn attributes(
        &mut self,
        rules: &AttributeRules,
        attributes: &[KeyValue<'_>],
        to: &mut Destinations,
    ) -> Result<(), Error> {
        for attribute in attributes {
            let pairs = match rules.action(&attribute.key) {
                Action::Label => &mut to.labels,
                Action::Metadata => &mut to.metadata,
                Action::Drop => continue,
            };
            self.path.clear();
            self.flatten(attribute, pairs)?;
        }
        Ok(())
    }

    /// `a: {b: 1, c: {d: 2}}` becomes `a_b=1`, `a_c_d=2`.
    fn flatten(&mut self, attribute: &KeyValue<'_>, pairs: &mut Vec<(Span, Span)>) -> Result<(), Error> {
        let outer = self.path.len();
        if outer > 0 {
            self.path.push(b'_');
        }
        self.path.extend_from_slice(&attribute.key);
        if let Value::Map(members) = &attribute.value {
            for member in members {
                self.flatten(member, pairs)?;
            }
        } else {
            let path = std::mem::take(&mut self.path);
            let name = self.text(|out| normalize_name(&path, out))?;
            self.path = path;
            let value = self.text(|out| attribute.value.write_text(out))?;
            pairs.push((name, value));
        }
        self.path.truncate(outer);
        Ok(())
    }

    fn metadata(&mut self, to: &mut Destinations, name: &str, value: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        let name = self.text(|out| out.extend_from_slice(name.as_bytes()))?;
        let value = self.text(value)?;
        to.metadata.push((name, value));
        Ok(())
    }

    fn pairs(&mut self, pairs: &[(Span, Span)]) -> Result<Range<usize>, Error> {
        let start = self.out.pairs.len();
        for &(name, value) in pairs {
            self.out.push_pair(name, value)?;
        }
        Ok(start..self.out.pairs.len())
    }

    /// Writes a text and pays for it.
    fn text(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<Span, Error> {
        let (start, paid) = (self.out.bytes.len(), self.out.bytes.capacity());
        write(&mut self.out.bytes);
        let end = self.out.bytes.len();
        if end > BODY_BYTES_MAX {
            return Err(Error::TooLarge { bytes: end as u64, limit_bytes: BODY_BYTES_MAX as u64 });
        }
        self.out.reserve(self.out.bytes.capacity() - paid)?;
        Ok(Span::new(start..end))
    }
}

fn text_len(value: &Value<'_>) -> usize {
    let mut text = Vec::new();
    value.write_text(&mut text);
    text.len()
}
