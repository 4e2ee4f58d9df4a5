//! `| unwrap duration(took) | took > 5`: the label whose value a range aggregation works on.

use super::label_filter::{self, LabelFilter};
use crate::ast::{self, UnwrapConversion};
use crate::pipeline::names::{NameId, Names};
use crate::pipeline::{Context, ErrorKind};
use logstack_go::units::{parse_bytes, parse_float, parse_go_duration};

/// A compiled `unwrap` with the filters behind it.
pub(crate) struct Unwrap {
    pub(crate) name: NameId,
    conversion: UnwrapConversion,
    filters: Vec<LabelFilter>,
}

impl Unwrap {
    pub(crate) fn new(unwrap: &ast::Unwrap, names: &mut Names) -> Result<Self, label_filter::Error> {
        let filters = unwrap.filters.iter().map(|filter| LabelFilter::new(filter, names)).collect::<Result<_, _>>()?;
        Ok(Self { name: names.intern(&unwrap.label), conversion: unwrap.conversion, filters })
    }

    /// The value; 0, and an error, when the text is none. `None`: the label is absent or empty, or a filter dropped
    /// the line.
    pub(crate) fn run(&self, cx: &mut Context<'_>) -> Option<f64> {
        let text = cx.labels.get(self.name, &cx.env).filter(|text| !text.is_empty())?;
        let value = match self.conversion {
            UnwrapConversion::Number => parse_float(text),
            UnwrapConversion::Duration | UnwrapConversion::DurationSeconds => parse_go_duration(text).map(seconds),
            UnwrapConversion::Bytes => parse_bytes(text).map(|bytes| bytes as f64),
        };
        let value = value.unwrap_or_else(|error| {
            cx.labels.set_error_details(ErrorKind::SampleExtraction, format_args!("{error}"));
            0.0
        });
        self.filters.iter().all(|filter| filter.run(cx.labels, &cx.env)).then_some(value)
    }
}

/// As Go's `Duration.Seconds`: whole seconds and the rest apart, so that 1.5 s is exactly 1.5.
fn seconds(ns: i64) -> f64 {
    (ns / 1_000_000_000) as f64 + (ns % 1_000_000_000) as f64 / 1e9
}
