//! Log queries: selectors, stages, ranges.

use super::check;
use super::token::{Flag, Function, Kind, Word};
use super::{Parser, Result};
use crate::ast::{
    Extraction, LabelFormat, LabelFormatSource, LabelSelection, LineFilter, LineFilterOp, LineMatch, LogExpr, MatchOp,
    Matcher, Stage, Unwrap, UnwrapConversion,
};

/// What follows the name of a matcher.
const MATCH_OPS: &[&str] = &["=", "=~", "!~", "!="];

/// What a range aggregation reads.
pub(super) struct LogRange {
    pub(super) log: LogExpr,
    pub(super) unwrap: Option<Unwrap>,
    pub(super) range_ns: i64,
    pub(super) offset_ns: i64,
}

/// A log range on the way: inside parentheses the `[range]` may still be to come.
struct PartialRange {
    log: LogExpr,
    unwrap: Option<Unwrap>,
    range_ns: Option<i64>,
    offset_ns: i64,
}

impl Parser<'_> {
    /// `{a="b"} | json`; the next token is the brace.
    pub(super) fn log_expr(&mut self) -> Result<LogExpr> {
        let mut log = LogExpr { selector: self.selector()?, stages: Vec::new() };
        self.stages(&mut log.stages, None)?;
        Ok(log)
    }

    fn selector(&mut self) -> Result<Vec<Matcher>> {
        self.expect_symbol("{", &["{"])?;
        let mut matchers = Vec::new();
        if self.take_symbol("}")? {
            return Ok(matchers);
        }
        loop {
            let expected: &[&str] = if matchers.is_empty() { &["IDENTIFIER", "}"] } else { &["IDENTIFIER"] };
            let words_name_labels = self.words_name_labels;
            let name = match self.peek()? {
                Kind::Word(_) if words_name_labels => {
                    let start = self.next()?.start;
                    self.lexer.word_at(start).to_owned()
                }
                _ => self.identifier(expected)?,
            };
            let Some(op) = self.match_op()? else { return self.unexpected(MATCH_OPS) };
            matchers.push(self.matcher(name, op)?);
            if self.take_symbol("}")? {
                return Ok(matchers);
            }
            self.expect_symbol(",", &["}", ","])?;
        }
    }

    /// Takes `=`, `!=`, `=~` or `!~`.
    fn match_op(&mut self) -> Result<Option<MatchOp>> {
        let op = match self.peek()? {
            Kind::Symbol("=") => MatchOp::Equal,
            Kind::Symbol("!=") => MatchOp::NotEqual,
            Kind::Symbol("=~") => MatchOp::Regex,
            Kind::Symbol("!~") => MatchOp::NotRegex,
            _ => return Ok(None),
        };
        self.peeked = None;
        Ok(Some(op))
    }

    /// The value of a matcher.
    pub(super) fn matcher(&mut self, name: String, op: MatchOp) -> Result<Matcher> {
        let value = self.string(&["STRING"])?;
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex) {
            check::regex(&value)?;
        }
        Ok(Matcher { name, op, value })
    }

    /// The stages that come next. `unwrap` is where an unwrap may go; nothing but label filters follows one.
    fn stages(&mut self, stages: &mut Vec<Stage>, mut unwrap: Option<&mut Option<Unwrap>>) -> Result<()> {
        loop {
            if let Some(op) = self.line_filter_op()? {
                self.peeked = None;
                stages.push(Stage::LineFilter(self.line_filter(op)?));
                continue;
            }
            if !self.take_symbol("|")? {
                return Ok(());
            }
            let word = match self.peek()? {
                Kind::Word(word) => *word,
                Kind::Identifier(_) | Kind::Unknown(_) | Kind::Symbol("(") => {
                    stages.push(Stage::LabelFilter(self.label_filter()?));
                    continue;
                }
                _ => return self.unexpected(&[]),
            };
            if word == Word::Unwrap {
                let Some(unwrap) = unwrap.take() else { return self.unexpected(&[]) };
                self.peeked = None;
                *unwrap = Some(self.unwrap_stage()?);
                return Ok(());
            }
            if !is_stage(word) {
                return self.unexpected(&[]);
            }
            self.peeked = None;
            stages.push(self.stage(word)?);
        }
    }

    fn line_filter_op(&mut self) -> Result<Option<LineFilterOp>> {
        Ok(Some(match self.peek()? {
            Kind::Symbol("|=") => LineFilterOp::Contains,
            Kind::Symbol("!=") => LineFilterOp::NotContains,
            Kind::Symbol("|~") => LineFilterOp::Regex,
            Kind::Symbol("!~") => LineFilterOp::NotRegex,
            Kind::Symbol("|>") => LineFilterOp::Pattern,
            Kind::Symbol("!>") => LineFilterOp::NotPattern,
            _ => return Ok(None),
        }))
    }

    fn line_filter(&mut self, op: LineFilterOp) -> Result<LineFilter> {
        let mut items = Vec::new();
        loop {
            items.push(match self.peek()? {
                Kind::Function(Function::Ip) => LineMatch::Ip(self.ip_argument()?),
                _ => LineMatch::Text(self.string(&["STRING", "ip"])?),
            });
            if !self.take(&Kind::Word(Word::Or))? {
                return Ok(LineFilter { op, items });
            }
        }
    }

    /// `ip("…")`; the next token is the function.
    pub(super) fn ip_argument(&mut self) -> Result<String> {
        self.peeked = None;
        self.expect_symbol("(", &["("])?;
        let pattern = self.string(&["STRING"])?;
        self.expect_symbol(")", &[")"])?;
        Ok(pattern)
    }

    fn stage(&mut self, word: Word) -> Result<Stage> {
        Ok(match word {
            Word::Json => Stage::Json { extractions: self.extractions()? },
            Word::Logfmt => {
                let (mut strict, mut keep_empty) = (false, false);
                while let Kind::Flag(flag) = *self.peek()? {
                    self.peeked = None;
                    match flag {
                        Flag::Strict => strict = true,
                        Flag::KeepEmpty => keep_empty = true,
                    }
                }
                Stage::Logfmt { strict, keep_empty, extractions: self.extractions()? }
            }
            Word::Regexp => {
                let pattern = self.string(&["STRING"])?;
                check::regexp_stage(&pattern)?;
                Stage::Regexp(pattern)
            }
            Word::Pattern => {
                let pattern = self.string(&["STRING"])?;
                check::pattern_stage(&pattern)?;
                Stage::Pattern(pattern)
            }
            Word::LineFormat => Stage::LineFormat(self.string(&["STRING"])?),
            Word::LabelFormat => Stage::LabelFormat(self.label_formats()?),
            Word::Drop => Stage::Drop(self.label_selections()?),
            Word::Keep => Stage::Keep(self.label_selections()?),
            Word::Unpack => Stage::Unpack,
            // The caller lets only names of stages through.
            _ => Stage::Decolorize,
        })
    }

    /// `a="x", b`, or nothing.
    fn extractions(&mut self) -> Result<Vec<Extraction>> {
        let mut extractions = Vec::new();
        if !matches!(self.peek()?, Kind::Identifier(_) | Kind::Unknown(_)) {
            return Ok(extractions);
        }
        loop {
            let label = self.identifier(&["IDENTIFIER"])?;
            let expression = if self.take_symbol("=")? { self.string(&["STRING"])? } else { label.clone() };
            extractions.push(Extraction { label, expression });
            if !self.take_symbol(",")? {
                return Ok(extractions);
            }
        }
    }

    fn label_formats(&mut self) -> Result<Vec<LabelFormat>> {
        let mut formats = Vec::new();
        loop {
            let label = self.identifier(&["IDENTIFIER"])?;
            self.expect_symbol("=", &["="])?;
            let source = match self.peek()? {
                Kind::Identifier(_) | Kind::Unknown(_) => LabelFormatSource::Rename(self.identifier(&[])?),
                _ => LabelFormatSource::Template(self.string(&["IDENTIFIER", "STRING"])?),
            };
            formats.push(LabelFormat { label, source });
            if !self.take_symbol(",")? {
                return Ok(formats);
            }
        }
    }

    fn label_selections(&mut self) -> Result<Vec<LabelSelection>> {
        let mut selections = Vec::new();
        loop {
            let name = self.identifier(&["IDENTIFIER"])?;
            selections.push(match self.match_op()? {
                Some(op) => LabelSelection::Matching(self.matcher(name, op)?),
                None => LabelSelection::Name(name),
            });
            if !self.take_symbol(",")? {
                return Ok(selections);
            }
        }
    }

    /// What follows the word `unwrap`, with the label filters behind it.
    fn unwrap_stage(&mut self) -> Result<Unwrap> {
        let conversion = match self.peek()? {
            Kind::Function(Function::Bytes) => UnwrapConversion::Bytes,
            Kind::Function(Function::Duration) => UnwrapConversion::Duration,
            Kind::Function(Function::DurationSeconds) => UnwrapConversion::DurationSeconds,
            _ => UnwrapConversion::Number,
        };
        let label = if conversion == UnwrapConversion::Number {
            self.identifier(&["IDENTIFIER", "BYTES_CONV", "DURATION_CONV", "DURATION_SECONDS_CONV"])?
        } else {
            self.peeked = None;
            self.expect_symbol("(", &["("])?;
            let label = self.identifier(&["IDENTIFIER"])?;
            self.expect_symbol(")", &[")"])?;
            label
        };
        let mut filters = Vec::new();
        while self.take_symbol("|")? {
            filters.push(self.label_filter()?);
        }
        Ok(Unwrap { label, conversion, filters })
    }

    /// `{a="b"} | json [5m] offset 1m`, perhaps in parentheses. `first` is what else may start here.
    pub(super) fn log_range(&mut self, first: &[&str]) -> Result<LogRange> {
        let partial = self.partial_range(first)?;
        match partial.range_ns {
            Some(range_ns) => {
                let PartialRange { log, unwrap, offset_ns, .. } = partial;
                Ok(LogRange { log, unwrap, range_ns, offset_ns })
            }
            None if partial.unwrap.is_some() => self.unexpected(&["RANGE", "|"]),
            None => self.unexpected(&[]),
        }
    }

    fn partial_range(&mut self, first: &[&str]) -> Result<PartialRange> {
        match self.peek()? {
            Kind::Symbol("{") => {
                let log = LogExpr { selector: self.selector()?, stages: Vec::new() };
                let mut partial = PartialRange { log, unwrap: None, range_ns: None, offset_ns: 0 };
                // The range may stand before the pipeline or behind it.
                self.range_and_offset(&mut partial)?;
                self.stages(&mut partial.log.stages, Some(&mut partial.unwrap))?;
                self.range_and_offset(&mut partial)?;
                Ok(partial)
            }
            Kind::Symbol("(") => {
                self.peeked = None;
                let mut partial = self.nested(|parser| parser.partial_range(&["{", "("]))?;
                let expected: &[&str] = if partial.range_ns.is_none() { &[] } else { &[")"] };
                self.expect_symbol(")", expected)?;
                self.range_and_offset(&mut partial)?;
                Ok(partial)
            }
            _ => self.unexpected(first),
        }
    }

    /// Takes `[5m] offset 1m` where no range has been yet.
    fn range_and_offset(&mut self, partial: &mut PartialRange) -> Result<()> {
        if partial.range_ns.is_some() {
            return Ok(());
        }
        let Kind::Range(range_ns) = *self.peek()? else { return Ok(()) };
        self.peeked = None;
        partial.range_ns = Some(range_ns);
        if self.take(&Kind::Word(Word::Offset))? {
            let Kind::Duration(offset_ns) = *self.peek()? else { return self.unexpected(&["DURATION"]) };
            self.peeked = None;
            partial.offset_ns = offset_ns;
        }
        Ok(())
    }
}

fn is_stage(word: Word) -> bool {
    matches!(
        word,
        Word::Json
            | Word::Logfmt
            | Word::Regexp
            | Word::Pattern
            | Word::LineFormat
            | Word::LabelFormat
            | Word::Drop
            | Word::Keep
            | Word::Unpack
            | Word::Decolorize
    )
}
