//! Syntax tree to text: the canonical form, on one line.
//!
//! ```text
//! {app="web"}|json|a=1,b>2KB     ->  {app="web"} | json | ( a==1 , b>2.0kB )
//! rate({a="b"}[300s])/2          ->  (rate({a="b"}[5m]) / 2)
//! ```
//!
//! What is printed parses to the same tree. [`Expr::pretty`] is the form for people, over several lines where one is
//! too short. Both follow what Loki's `format_query` answers.

mod pretty;

use std::fmt::{self, Write};

use crate::ast::{
    BinaryExpr, Expr, Extraction, GroupSide, Grouping, LabelFilter, LabelFormat, LabelFormatSource, LabelReplace,
    LabelSelection, LineFilter, LineMatch, LogExpr, MatchOp, Matcher, MetricExpr, RangeAggregation, Stage, Unwrap,
    UnwrapConversion, Variants, VectorAggregation, VectorMatching,
};
use logstack_go::quote::Quoted;
use logstack_go::units::{GoDuration, PrometheusDuration, format_bytes, format_float, parse_bytes_literal};

/// How sizes are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sizes {
    /// So that the same number is read back: `1536B`.
    Exact,
    /// With two digits, as Loki does: `1.5kB`.
    Rounded,
}

macro_rules! display {
    ($($node:ty => $print:ident,)*) => {$(
        /// The canonical form; see [`crate::print`].
        impl fmt::Display for $node {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Printer { out: f, sizes: Sizes::Exact }.$print(self)
            }
        }
    )*};
}

display! {
    Expr => expr,
    LogExpr => log,
    MetricExpr => metric,
    Matcher => matcher,
    Stage => stage,
    LabelFilter => label_filter,
    Unwrap => unwrap,
    Grouping => grouping,
}

struct Printer<'a, W> {
    out: &'a mut W,
    sizes: Sizes,
}

impl<W: Write> Printer<'_, W> {
    fn expr(&mut self, expr: &Expr) -> fmt::Result {
        match expr {
            Expr::Log(log) => self.log(log),
            Expr::Metric(metric) => self.metric(metric),
            Expr::Variants(variants) => self.variants(variants),
        }
    }

    fn text(&mut self, text: &str) -> fmt::Result {
        self.out.write_str(text)
    }

    /// Prints items with `separator` between them.
    fn list<T>(
        &mut self,
        items: &[T],
        separator: &str,
        mut print: impl FnMut(&mut Self, &T) -> fmt::Result,
    ) -> fmt::Result {
        for (idx, item) in items.iter().enumerate() {
            if idx > 0 {
                self.text(separator)?;
            }
            print(self, item)?;
        }
        Ok(())
    }

    fn log(&mut self, log: &LogExpr) -> fmt::Result {
        self.selector(&log.selector)?;
        for stage in &log.stages {
            self.text(" ")?;
            self.stage(stage)?;
        }
        Ok(())
    }

    fn selector(&mut self, matchers: &[Matcher]) -> fmt::Result {
        self.text("{")?;
        self.list(matchers, ", ", Self::matcher)?;
        self.text("}")
    }

    fn matcher(&mut self, matcher: &Matcher) -> fmt::Result {
        let Matcher { name, op, value } = matcher;
        write!(self.out, "{name}{}{}", op.symbol(), Quoted(value))
    }

    fn stage(&mut self, stage: &Stage) -> fmt::Result {
        match stage {
            Stage::LineFilter(filter) => self.line_filter(filter),
            Stage::Json { extractions } => {
                self.text("| json")?;
                self.extractions(extractions)
            }
            Stage::Logfmt { strict, keep_empty, extractions } => {
                self.text("| logfmt")?;
                self.text(if *strict { " --strict" } else { "" })?;
                self.text(if *keep_empty { " --keep-empty" } else { "" })?;
                self.extractions(extractions)
            }
            Stage::Regexp(pattern) => write!(self.out, "| regexp {}", Quoted(pattern)),
            Stage::Pattern(pattern) => write!(self.out, "| pattern {}", Quoted(pattern)),
            Stage::Unpack => self.text("| unpack"),
            Stage::Decolorize => self.text("| decolorize"),
            Stage::LabelFilter(filter) => {
                self.text("| ")?;
                self.label_filter(filter)
            }
            Stage::LineFormat(template) => write!(self.out, "| line_format {}", Quoted(template)),
            Stage::LabelFormat(formats) => {
                self.text("| label_format ")?;
                self.list(formats, ",", Self::label_format)
            }
            Stage::Drop(selections) => {
                self.text("| drop ")?;
                self.list(selections, ",", Self::label_selection)
            }
            Stage::Keep(selections) => {
                self.text("| keep ")?;
                self.list(selections, ",", Self::label_selection)
            }
        }
    }

    fn line_filter(&mut self, filter: &LineFilter) -> fmt::Result {
        write!(self.out, "{} ", filter.op.symbol())?;
        self.list(&filter.items, " or ", |printer, item| match item {
            LineMatch::Text(text) => write!(printer.out, "{}", Quoted(text)),
            LineMatch::Ip(pattern) => write!(printer.out, "ip({})", Quoted(pattern)),
        })
    }

    fn extractions(&mut self, extractions: &[Extraction]) -> fmt::Result {
        if extractions.is_empty() {
            return Ok(());
        }
        self.text(" ")?;
        self.list(extractions, ",", |printer, Extraction { label, expression }| {
            write!(printer.out, "{label}={}", Quoted(expression))
        })
    }

    fn label_format(&mut self, format: &LabelFormat) -> fmt::Result {
        let label = &format.label;
        match &format.source {
            LabelFormatSource::Rename(from) => write!(self.out, "{label}={from}"),
            LabelFormatSource::Template(template) => write!(self.out, "{label}={}", Quoted(template)),
        }
    }

    fn label_selection(&mut self, selection: &LabelSelection) -> fmt::Result {
        match selection {
            LabelSelection::Name(name) => self.text(name),
            LabelSelection::Matching(matcher) => self.matcher(matcher),
        }
    }

    fn label_filter(&mut self, filter: &LabelFilter) -> fmt::Result {
        match filter {
            LabelFilter::And(left, right) => self.joined(left, " , ", right),
            LabelFilter::Or(left, right) => self.joined(left, " or ", right),
            LabelFilter::Text(matcher) => self.matcher(matcher),
            // The largest number that can be written is the smallest that is too large.
            LabelFilter::Number { name, op, value } if value.is_infinite() => {
                write!(self.out, "{name}{}{}1e400", op.symbol(), if *value < 0.0 { "-" } else { "" })
            }
            LabelFilter::Number { name, op, value } => write!(self.out, "{name}{}{value}", op.symbol()),
            LabelFilter::Duration { name, op, value_ns } => {
                write!(self.out, "{name}{}{}", op.symbol(), GoDuration(*value_ns))
            }
            LabelFilter::Bytes { name, op, value } => {
                write!(self.out, "{name}{}", op.symbol())?;
                self.size(*value)
            }
            LabelFilter::Ip { name, op, pattern } => {
                write!(self.out, "{name}{}ip({})", op.symbol(), Quoted(pattern))
            }
        }
    }

    fn joined(&mut self, left: &LabelFilter, join: &str, right: &LabelFilter) -> fmt::Result {
        self.text("( ")?;
        self.label_filter(left)?;
        self.text(join)?;
        self.label_filter(right)?;
        self.text(" )")
    }

    fn size(&mut self, bytes: u64) -> fmt::Result {
        let rounded = format_bytes(bytes).replace(' ', "");
        match parse_bytes_literal(&rounded) {
            Some(read_back) if self.sizes == Sizes::Rounded || read_back == bytes => self.text(&rounded),
            // From 1 PB on rounded sizes cannot be written in a query at all.
            _ => write!(self.out, "{bytes}B"),
        }
    }

    /// `| unwrap x | filter`
    fn unwrap(&mut self, unwrap: &Unwrap) -> fmt::Result {
        self.unwrap_label(unwrap)?;
        for filter in &unwrap.filters {
            self.text(" | ")?;
            self.label_filter(filter)?;
        }
        Ok(())
    }

    fn unwrap_label(&mut self, unwrap: &Unwrap) -> fmt::Result {
        let label = &unwrap.label;
        match unwrap.conversion {
            UnwrapConversion::Number => write!(self.out, "| unwrap {label}"),
            UnwrapConversion::Duration => write!(self.out, "| unwrap duration({label})"),
            UnwrapConversion::DurationSeconds => write!(self.out, "| unwrap duration_seconds({label})"),
            UnwrapConversion::Bytes => write!(self.out, "| unwrap bytes({label})"),
        }
    }

    fn log_range(&mut self, log: &LogExpr, unwrap: Option<&Unwrap>, range_ns: i64, offset_ns: i64) -> fmt::Result {
        self.log(log)?;
        if let Some(unwrap) = unwrap {
            self.text(" ")?;
            self.unwrap(unwrap)?;
        }
        self.range_and_offset(range_ns, offset_ns)
    }

    fn range_and_offset(&mut self, range_ns: i64, offset_ns: i64) -> fmt::Result {
        write!(self.out, "[{}]", PrometheusDuration(range_ns))?;
        if offset_ns != 0 {
            write!(self.out, " offset {}", GoDuration(offset_ns))?;
        }
        Ok(())
    }

    fn metric(&mut self, metric: &MetricExpr) -> fmt::Result {
        match metric {
            MetricExpr::Range(range) => self.range_aggregation(range),
            MetricExpr::Vector(aggregation) => self.vector_aggregation(aggregation),
            MetricExpr::Binary(binary) => self.binary(binary),
            MetricExpr::Literal(value) => self.literal(*value),
            MetricExpr::VectorLiteral(value) => write!(self.out, "vector({value})"),
            MetricExpr::LabelReplace(replace) => self.label_replace(replace),
        }
    }

    fn literal(&mut self, value: f64) -> fmt::Result {
        // There are no literals for these: the parser folds operations that give them.
        if value.is_nan() {
            self.text("(0 / 0)")
        } else if value.is_infinite() {
            self.text(if value > 0.0 { "(1e+300 * 1e+300)" } else { "(-1e+300 * 1e+300)" })
        } else {
            self.text(&format_float(value))
        }
    }

    fn range_aggregation(&mut self, aggregation: &RangeAggregation) -> fmt::Result {
        let RangeAggregation { op, param, log, unwrap, range_ns, offset_ns, grouping } = aggregation;
        write!(self.out, "{}(", op.name())?;
        if let Some(param) = param {
            write!(self.out, "{param},")?;
        }
        self.log_range(log, unwrap.as_ref(), *range_ns, *offset_ns)?;
        self.text(")")?;
        if let Some(grouping) = grouping {
            self.text(" ")?;
            self.grouping(grouping)?;
        }
        Ok(())
    }

    fn vector_aggregation(&mut self, aggregation: &VectorAggregation) -> fmt::Result {
        self.text(aggregation.op.name())?;
        if let Some(grouping) = &aggregation.grouping {
            self.text(" ")?;
            self.grouping(grouping)?;
        }
        self.text("(")?;
        if let Some(param) = aggregation.param {
            write!(self.out, "{param},")?;
        }
        self.metric(&aggregation.inner)?;
        self.text(")")
    }

    /// `by (a,b)`
    fn grouping(&mut self, grouping: &Grouping) -> fmt::Result {
        self.grouping_with(grouping, ",")
    }

    fn grouping_with(&mut self, grouping: &Grouping, separator: &str) -> fmt::Result {
        let word = if grouping.without { "without" } else { "by" };
        write!(self.out, "{word} ({})", grouping.labels.join(separator))
    }

    fn binary(&mut self, binary: &BinaryExpr) -> fmt::Result {
        self.text("(")?;
        self.metric(&binary.left)?;
        self.text(" ")?;
        self.operator(binary)?;
        self.text(" ")?;
        self.metric(&binary.right)?;
        self.text(")")
    }

    /// `/ bool on (a) group_left (b)`
    fn operator(&mut self, binary: &BinaryExpr) -> fmt::Result {
        self.text(binary.op.symbol())?;
        self.text(if binary.return_bool { " bool" } else { "" })?;
        let Some(VectorMatching { on, labels, group }) = &binary.matching else { return Ok(()) };
        let word = if *on { "on" } else { "ignoring" };
        write!(self.out, " {word} ({})", labels.join(","))?;
        match group {
            None => Ok(()),
            // Empty parentheses keep those of the right side from being taken for the labels.
            Some(GroupSide::Left { include }) => write!(self.out, " group_left ({})", include.join(",")),
            Some(GroupSide::Right { include }) => write!(self.out, " group_right ({})", include.join(",")),
        }
    }

    fn label_replace(&mut self, replace: &LabelReplace) -> fmt::Result {
        let LabelReplace { inner, dst, replacement, src, regex } = replace;
        self.text("label_replace(")?;
        self.metric(inner)?;
        write!(self.out, ",{},{},{},{})", Quoted(dst), Quoted(replacement), Quoted(src), Quoted(regex))
    }

    fn variants(&mut self, variants: &Variants) -> fmt::Result {
        self.text("variants(")?;
        self.list(&variants.variants, ", ", Self::metric)?;
        self.text(") of (")?;
        self.log_range(&variants.log, variants.unwrap.as_ref(), variants.range_ns, variants.offset_ns)?;
        self.text(")")
    }
}

/// `=`, `!=`, `=~` or `!~`
impl fmt::Display for MatchOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol())
    }
}

#[cfg(test)]
mod tests;
