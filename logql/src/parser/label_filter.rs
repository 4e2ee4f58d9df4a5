//! Label filters: `status >= 500 and app="x"`.
//!
//! `and` binds tighter than `or`. `,` and mere juxtaposition mean `and` too but have no precedence: they take
//! everything to their right, and what an `or` or `and` before them had on its right side (contract: logql.md, 5).

use super::token::{Function, Kind, Word};
use super::{ParseError, Parser, Result};
use crate::ast::{CompareOp, LabelFilter, MatchOp};
use logstack_go::units;

/// What a label filter starts with.
const START: &[&str] = &["IDENTIFIER", "("];

/// How two label filters are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Join {
    Or,
    And,
    /// `,` or nothing.
    Loose,
}

/// The operator behind a label name.
enum Op {
    /// `=` and `!=`: any operand.
    Any(MatchOp),
    /// `=~` and `!~`
    Regex(MatchOp),
    /// `==`, `>` and so on: no text.
    Compare(CompareOp),
}

impl Parser<'_> {
    /// A label filter as long as it goes.
    pub(super) fn label_filter(&mut self) -> Result<LabelFilter> {
        // Shift and reduce, without recursion: chains may be long.
        let mut operands = vec![self.label_predicate()?];
        let mut joins: Vec<Join> = Vec::new();
        loop {
            let join = match self.peek()? {
                Kind::Word(Word::And) => Join::And,
                Kind::Word(Word::Or) => Join::Or,
                Kind::Symbol("," | "(") | Kind::Identifier(_) | Kind::Unknown(_) => Join::Loose,
                _ => break,
            };
            if matches!(self.peek()?, Kind::Word(_) | Kind::Symbol(",")) {
                self.peeked = None;
            }
            self.operator()?;
            while joins.last().is_some_and(|last| binds_before(*last, join)) {
                reduce(&mut operands, &mut joins);
            }
            joins.push(join);
            operands.push(self.label_predicate()?);
        }
        while !joins.is_empty() {
            reduce(&mut operands, &mut joins);
        }
        match operands.pop() {
            Some(filter) => Ok(filter),
            None => self.unexpected(START),
        }
    }

    fn label_predicate(&mut self) -> Result<LabelFilter> {
        if self.take_symbol("(")? {
            let filter = self.nested(Self::label_filter)?;
            self.expect_symbol(")", &[])?;
            return Ok(filter);
        }
        let name = self.identifier(START)?;
        let op = match self.peek()? {
            Kind::Symbol("=") => Op::Any(MatchOp::Equal),
            Kind::Symbol("!=") => Op::Any(MatchOp::NotEqual),
            Kind::Symbol("=~") => Op::Regex(MatchOp::Regex),
            Kind::Symbol("!~") => Op::Regex(MatchOp::NotRegex),
            Kind::Symbol("==") => Op::Compare(CompareOp::Equal),
            Kind::Symbol(">") => Op::Compare(CompareOp::Greater),
            Kind::Symbol(">=") => Op::Compare(CompareOp::GreaterOrEqual),
            Kind::Symbol("<") => Op::Compare(CompareOp::Less),
            Kind::Symbol("<=") => Op::Compare(CompareOp::LessOrEqual),
            _ => return self.unexpected(&[]),
        };
        self.peeked = None;
        match op {
            Op::Regex(op) => Ok(LabelFilter::Text(self.matcher(name, op)?)),
            Op::Compare(op) => self.measure(name, op),
            Op::Any(op) => match self.peek()? {
                Kind::String(_) => Ok(LabelFilter::Text(self.matcher(name, op)?)),
                Kind::Function(Function::Ip) => Ok(LabelFilter::Ip { name, op, pattern: self.ip_argument()? }),
                _ => self.measure(name, if op == MatchOp::Equal { CompareOp::Equal } else { CompareOp::NotEqual }),
            },
        }
    }

    /// A number, duration or size.
    fn measure(&mut self, name: String, op: CompareOp) -> Result<LabelFilter> {
        let sign = match self.peek()? {
            Kind::Symbol("-") => Some(-1.0),
            Kind::Symbol("+") => Some(1.0),
            _ => None,
        };
        if let Some(sign) = sign {
            self.peeked = None;
            let Kind::Number(text) = *self.peek()? else { return self.unexpected(&["NUMBER"]) };
            self.peeked = None;
            return Ok(LabelFilter::Number { name, op, value: sign * lenient_number(text) });
        }
        let filter = match *self.peek()? {
            Kind::Number(text) => LabelFilter::Number { name, op, value: lenient_number(text) },
            Kind::Duration(value_ns) => LabelFilter::Duration { name, op, value_ns },
            Kind::Bytes(value) => LabelFilter::Bytes { name, op, value },
            _ => return self.unexpected(&[]),
        };
        self.peeked = None;
        Ok(filter)
    }
}

/// True when `last`, which stands before `next`, takes the operand between them.
fn binds_before(last: Join, next: Join) -> bool {
    match (last, next) {
        (Join::Loose, _) | (_, Join::Loose) | (Join::Or, Join::And) => false,
        (Join::And, _) | (Join::Or, Join::Or) => true,
    }
}

fn reduce(operands: &mut Vec<LabelFilter>, joins: &mut Vec<Join>) {
    let Some(join) = joins.pop() else { return };
    let (Some(right), Some(left)) = (operands.pop(), operands.pop()) else { return };
    let (left, right) = (Box::new(left), Box::new(right));
    operands.push(match join {
        Join::Or => LabelFilter::Or(left, right),
        Join::And | Join::Loose => LabelFilter::And(left, right),
    });
}

/// The number of a label filter. What does not convert is 0 (`0x10`), what is too large infinite: Loki overlooks the
/// error, as its recorded answers show.
fn lenient_number(text: &str) -> f64 {
    match units::parse_float(text) {
        Ok(value) => value,
        Err(units::Error::Number { reason: units::NumberFault::Range, .. }) => f64::INFINITY,
        Err(_) => 0.0,
    }
}

/// The number of a literal.
pub(super) fn strict_number(text: &str) -> Result<f64, ParseError> {
    units::parse_float(text).map_err(|err| ParseError::Meaning(format!("unable to parse literal as a float: {err}")))
}
