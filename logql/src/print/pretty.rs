//! The form for people: what is longer than a line is broken up and indented.
//!
//! ```text
//! sum by (pod)(
//!   rate({app="web", …} |= "x"[5m])
//! )
//! ```

use std::fmt;

use super::{Printer, Sizes};
use crate::ast::{Expr, LogExpr, MetricExpr, Stage, Unwrap};
use logstack_go::quote::Quoted;

/// What is longer, in bytes, goes over several lines; the indent does not count.
const LINE_BYTES_MAX: usize = 100;

impl Expr {
    /// The query as Loki's `format_query` prints it. Unlike the canonical form it rounds sizes to two digits.
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = Printer { out: &mut out, sizes: Sizes::Rounded }.pretty_expr(self);
        out
    }
}

impl Printer<'_, String> {
    /// What `print` would write, if it fits on a line.
    fn line(&self, print: impl FnOnce(&mut Printer<'_, String>) -> fmt::Result) -> Option<String> {
        let mut line = String::new();
        print(&mut Printer { out: &mut line, sizes: self.sizes }).ok()?;
        (line.len() <= LINE_BYTES_MAX).then_some(line)
    }

    fn indent(&mut self, level: usize) {
        self.out.extend(std::iter::repeat_n("  ", level));
    }

    fn new_line(&mut self, level: usize) {
        self.out.push('\n');
        self.indent(level);
    }

    fn pretty_expr(&mut self, expr: &Expr) -> fmt::Result {
        match expr {
            Expr::Log(log) => self.pretty_log(log, 0),
            Expr::Metric(metric) => self.pretty_metric(metric, 0),
            Expr::Variants(variants) => {
                self.text("variants(")?;
                for (idx, variant) in variants.variants.iter().enumerate() {
                    self.text(if idx > 0 { ",\n" } else { "\n" })?;
                    self.pretty_metric(variant, 1)?;
                }
                self.text("\n) of (\n")?;
                let unwrap = variants.unwrap.as_ref();
                self.pretty_log_range(&variants.log, unwrap, variants.range_ns, variants.offset_ns, 1)?;
                self.text("\n)")
            }
        }
    }

    /// Line filters side by side share a line.
    fn pretty_log(&mut self, log: &LogExpr, level: usize) -> fmt::Result {
        self.indent(level);
        if let Some(line) = self.line(|printer| printer.log(log)) {
            return self.text(&line);
        }
        self.selector(&log.selector)?;
        let mut behind_line_filter = false;
        for stage in &log.stages {
            let is_line_filter = matches!(stage, Stage::LineFilter(_));
            if is_line_filter && behind_line_filter {
                self.out.push(' ');
            } else {
                self.new_line(level + 1);
            }
            self.stage(stage)?;
            behind_line_filter = is_line_filter;
        }
        Ok(())
    }

    fn pretty_log_range(
        &mut self,
        log: &LogExpr,
        unwrap: Option<&Unwrap>,
        range_ns: i64,
        offset_ns: i64,
        level: usize,
    ) -> fmt::Result {
        self.pretty_log(log, level)?;
        if let Some(unwrap) = unwrap {
            self.new_line(level + 1);
            self.unwrap_label(unwrap)?;
            for filter in &unwrap.filters {
                self.new_line(level + 1);
                self.text("| ")?;
                self.label_filter(filter)?;
            }
        }
        self.text(" ")?;
        self.range_and_offset(range_ns, offset_ns)
    }

    fn pretty_metric(&mut self, metric: &MetricExpr, level: usize) -> fmt::Result {
        if let Some(line) = self.line(|printer| printer.metric(metric)) {
            self.indent(level);
            return self.text(&line);
        }
        match metric {
            MetricExpr::Range(range) => {
                self.indent(level);
                self.text(range.op.name())?;
                self.text("(\n")?;
                if let Some(param) = range.param {
                    self.indent(level + 1);
                    self.text(&format!("{param},\n"))?;
                }
                self.pretty_log_range(&range.log, range.unwrap.as_ref(), range.range_ns, range.offset_ns, level + 1)?;
                self.new_line(level);
                self.text(")")?;
                match &range.grouping {
                    Some(grouping) => {
                        self.text(" ")?;
                        self.grouping_with(grouping, ", ")
                    }
                    None => Ok(()),
                }
            }
            MetricExpr::Vector(aggregation) => {
                self.indent(level);
                self.text(aggregation.op.name())?;
                if let Some(grouping) = &aggregation.grouping {
                    self.text(" ")?;
                    self.grouping_with(grouping, ", ")?;
                }
                self.text("(\n")?;
                if let Some(param) = aggregation.param {
                    self.indent(level + 1);
                    self.text(&format!("{param},\n"))?;
                }
                self.pretty_metric(&aggregation.inner, level + 1)?;
                self.new_line(level);
                self.text(")")
            }
            MetricExpr::Binary(binary) => {
                self.pretty_leg(&binary.left, level + 1)?;
                self.new_line(level);
                self.operator(binary)?;
                self.out.push('\n');
                self.pretty_leg(&binary.right, level + 1)
            }
            MetricExpr::LabelReplace(replace) => {
                self.indent(level);
                self.text("label_replace(\n")?;
                self.pretty_metric(&replace.inner, level + 1)?;
                for argument in [&replace.dst, &replace.replacement, &replace.src, &replace.regex] {
                    self.text(",")?;
                    self.new_line(level + 1);
                    self.text(&Quoted(argument).to_string())?;
                }
                self.new_line(level);
                self.text(")")
            }
            MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => {
                self.indent(level);
                self.metric(metric)
            }
        }
    }

    /// A side of a binary operator. Loki forgets the parentheses of a long one, which would change its meaning.
    fn pretty_leg(&mut self, leg: &MetricExpr, level: usize) -> fmt::Result {
        let is_long = matches!(leg, MetricExpr::Binary(_)) && self.line(|printer| printer.metric(leg)).is_none();
        if !is_long {
            return self.pretty_metric(leg, level);
        }
        self.indent(level);
        self.text("(\n")?;
        self.pretty_metric(leg, level + 1)?;
        self.new_line(level);
        self.text(")")
    }
}
