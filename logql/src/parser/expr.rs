//! Metric queries: aggregations, binary operators, literals.

use super::label_filter::strict_number;
use super::token::{Function, Kind, Word};
use super::{Parser, Result, check};
use crate::ast::{
    BinaryExpr, BinaryOp, CompareOp, Expr, GroupSide, Grouping, LabelReplace, MetricExpr, RangeAggregation, RangeOp,
    Variants, VectorAggregation, VectorMatching, VectorOp,
};
use logstack_go::re2;

/// How a binary operator treats series, as written between it and its right side.
#[derive(Default)]
struct Modifiers {
    return_bool: bool,
    matching: Option<VectorMatching>,
}

impl Parser<'_> {
    pub(super) fn query(&mut self) -> Result<Expr> {
        let expr = if self.take(&Kind::Word(Word::Variants))? { self.variants()? } else { self.binary(0)? };
        if self.take(&Kind::End)? { Ok(expr) } else { self.unexpected(&[]) }
    }

    /// Operators that bind at least as tight as `min`, and their operands.
    fn binary(&mut self, min: u8) -> Result<Expr> {
        let left = self.operand()?;
        self.binary_from(left, min)
    }

    fn binary_from(&mut self, mut left: Expr, min: u8) -> Result<Expr> {
        while let Some((op, precedence)) = binary_op(self.peek()?) {
            if precedence < min {
                break;
            }
            self.peeked = None;
            self.operator()?;
            let modifiers = self.modifiers()?;
            // Of the same precedence the left one goes first; powers are the exception.
            let right_min = if op == BinaryOp::Pow { precedence } else { precedence + 1 };
            let right = self.nested(|parser| parser.binary(right_min))?;
            left = self.combine(op, modifiers, left, right);
        }
        Ok(left)
    }

    fn operand(&mut self) -> Result<Expr> {
        let function = match self.peek()? {
            Kind::Symbol("{") => return Ok(Expr::Log(self.log_expr()?)),
            Kind::Symbol("(") => {
                self.peeked = None;
                let inner = self.nested(|parser| parser.binary(0))?;
                self.expect_symbol(")", &[])?;
                return Ok(inner);
            }
            Kind::Symbol("-") => {
                self.peeked = None;
                return self.number(-1.0);
            }
            Kind::Symbol("+") => {
                self.peeked = None;
                return self.number(1.0);
            }
            Kind::Number(_) => return self.number(1.0),
            Kind::Function(function) => *function,
            _ => return self.unexpected(&[]),
        };
        let metric = match function {
            Function::Range(op) => self.nested(|parser| parser.range_aggregation(op))?,
            Function::Aggregation(op) => self.nested(|parser| parser.vector_aggregation(op))?,
            Function::LabelReplace => self.nested(Self::label_replace)?,
            Function::Vector => self.vector()?,
            Function::Ip | Function::Bytes | Function::Duration | Function::DurationSeconds => {
                return self.unexpected(&[]);
            }
        };
        Ok(Expr::Metric(metric))
    }

    fn number(&mut self, sign: f64) -> Result<Expr> {
        let Kind::Number(text) = *self.peek()? else { return self.unexpected(&["NUMBER"]) };
        self.peeked = None;
        Ok(Expr::Metric(MetricExpr::Literal(sign * strict_number(text)?)))
    }

    /// An expression that must be a metric. A log query is reported at the token behind it.
    fn metric(&mut self) -> Result<MetricExpr> {
        let expr = self.binary(0)?;
        self.only_metric(expr)
    }

    fn only_metric(&mut self, expr: Expr) -> Result<MetricExpr> {
        match expr {
            Expr::Metric(metric) => Ok(metric),
            Expr::Log(_) | Expr::Variants(_) => self.unexpected(&[]),
        }
    }

    /// `bool on (a) group_left (b)`, each part optional.
    fn modifiers(&mut self) -> Result<Modifiers> {
        let mut modifiers = Modifiers { return_bool: self.take(&Kind::Word(Word::Bool))?, matching: None };
        let on = match self.peek()? {
            Kind::Word(Word::On) => true,
            Kind::Word(Word::Ignoring) => false,
            _ => return Ok(modifiers),
        };
        self.peeked = None;
        let labels = self.label_list()?;
        let side = match self.peek()? {
            Kind::Word(word @ (Word::GroupLeft | Word::GroupRight)) => Some(*word),
            _ => None,
        };
        let mut group = None;
        if let Some(side) = side {
            self.peeked = None;
            let include = if *self.peek()? == Kind::Symbol("(") { self.label_list()? } else { Vec::new() };
            group = Some(match side {
                Word::GroupLeft => GroupSide::Left { include },
                _ => GroupSide::Right { include },
            });
        }
        modifiers.matching = Some(VectorMatching { on, labels, group });
        Ok(modifiers)
    }

    /// `(a, b)` or `()`.
    fn label_list(&mut self) -> Result<Vec<String>> {
        self.expect_symbol("(", &["("])?;
        let mut labels = Vec::new();
        if self.take_symbol(")")? {
            return Ok(labels);
        }
        loop {
            labels.push(self.identifier(if labels.is_empty() { &["IDENTIFIER", ")"] } else { &["IDENTIFIER"] })?);
            if self.take_symbol(")")? {
                return Ok(labels);
            }
            self.expect_symbol(",", &[",", ")"])?;
        }
    }

    fn grouping(&mut self) -> Result<Option<Grouping>> {
        let without = match self.peek()? {
            Kind::Word(Word::By) => false,
            Kind::Word(Word::Without) => true,
            _ => return Ok(None),
        };
        self.peeked = None;
        Ok(Some(Grouping { without, labels: self.label_list()? }))
    }

    fn range_aggregation(&mut self, op: RangeOp) -> Result<MetricExpr> {
        self.peeked = None;
        self.expect_symbol("(", &["("])?;
        let mut param = None;
        if let Kind::Number(text) = *self.peek()? {
            self.peeked = None;
            param = Some(strict_number(text)?);
            self.expect_symbol(",", &[","])?;
        }
        let first: &[&str] = if param.is_none() { &["NUMBER", "{", "("] } else { &["{", "("] };
        let range = self.log_range(first)?;
        self.expect_symbol(")", &[")"])?;
        let aggregation = RangeAggregation {
            op,
            param,
            log: range.log,
            unwrap: range.unwrap,
            range_ns: range.range_ns,
            offset_ns: range.offset_ns,
            grouping: self.grouping()?,
        };
        if let Err(message) = check::range_aggregation(&aggregation) {
            self.fault(message);
        }
        Ok(MetricExpr::Range(aggregation))
    }

    fn vector_aggregation(&mut self, op: VectorOp) -> Result<MetricExpr> {
        self.peeked = None;
        let mut grouping = self.grouping()?;
        self.expect_symbol("(", &["("])?;
        let mut param = None;
        let inner = match *self.peek()? {
            Kind::Number(text) => {
                self.peeked = None;
                if self.take_symbol(",")? {
                    param = Some(text);
                    self.metric()?
                } else {
                    let expr = Expr::Metric(MetricExpr::Literal(strict_number(text)?));
                    let expr = self.binary_from(expr, 0)?;
                    self.only_metric(expr)?
                }
            }
            _ => self.metric()?,
        };
        self.expect_symbol(")", &[])?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        // `by ()` is one group without labels, which is what no grouping means; sorting does not group at all.
        let sorts = matches!(op, VectorOp::Sort | VectorOp::SortDesc);
        grouping = grouping.filter(|grouping| !grouping.labels.is_empty() || (grouping.without && !sorts));
        let param = match check::vector_param(op, param, grouping.is_some()) {
            Ok(param) => param,
            Err(message) => {
                self.fault(message);
                None
            }
        };
        Ok(MetricExpr::Vector(VectorAggregation { op, param, grouping, inner: Box::new(inner) }))
    }

    fn label_replace(&mut self) -> Result<MetricExpr> {
        self.peeked = None;
        self.expect_symbol("(", &["("])?;
        let inner = self.metric()?;
        self.expect_symbol(",", &[])?;
        let dst = self.string(&["STRING"])?;
        self.expect_symbol(",", &[","])?;
        let replacement = self.string(&["STRING"])?;
        self.expect_symbol(",", &[","])?;
        let src = self.string(&["STRING"])?;
        self.expect_symbol(",", &[","])?;
        let regex = self.string(&["STRING"])?;
        self.expect_symbol(")", &[")"])?;
        if let Err(err) = re2::compile_label_replace(&regex) {
            self.fault(format!("invalid regex in label_replace: {err}"));
        }
        Ok(MetricExpr::LabelReplace(Box::new(LabelReplace { inner, dst, replacement, src, regex })))
    }

    fn vector(&mut self) -> Result<MetricExpr> {
        self.peeked = None;
        self.expect_symbol("(", &["("])?;
        let Kind::Number(text) = *self.peek()? else { return self.unexpected(&["NUMBER"]) };
        self.peeked = None;
        let value = strict_number(text)?;
        self.expect_symbol(")", &[")"])?;
        Ok(MetricExpr::VectorLiteral(value))
    }

    /// What follows the word `variants`.
    fn variants(&mut self) -> Result<Expr> {
        self.expect_symbol("(", &["("])?;
        let mut variants = vec![self.metric()?];
        while self.take_symbol(",")? {
            variants.push(self.metric()?);
        }
        self.expect_symbol(")", &[])?;
        if !self.take(&Kind::Word(Word::Of))? {
            return self.unexpected(&["of"]);
        }
        self.expect_symbol("(", &["("])?;
        let range = self.log_range(&["{", "("])?;
        self.expect_symbol(")", &[")"])?;
        Ok(Expr::Variants(Box::new(Variants {
            variants,
            log: range.log,
            unwrap: range.unwrap,
            range_ns: range.range_ns,
            offset_ns: range.offset_ns,
        })))
    }

    /// `left op right`; two literals become one.
    fn combine(&mut self, op: BinaryOp, modifiers: Modifiers, left: Expr, right: Expr) -> Expr {
        let (left, right) = match (left, right) {
            (Expr::Metric(left), Expr::Metric(right)) => (left, right),
            (Expr::Metric(_), other) => return self.wrong_leg("right", op, &other),
            (other, _) => return self.wrong_leg("left", op, &other),
        };
        if op.is_set() {
            for (leg, side) in [("left", &left), ("right", &right)] {
                if let MetricExpr::Literal(value) = side {
                    self.fault(format!(
                        "unexpected literal for {leg} leg of logical/set binary operation ({}): {value:.6}",
                        op.symbol()
                    ));
                }
            }
        }
        if let (MetricExpr::Literal(left), MetricExpr::Literal(right)) = (&left, &right) {
            return Expr::Metric(MetricExpr::Literal(fold(op, *left, *right)));
        }
        let Modifiers { return_bool, matching } = modifiers;
        Expr::Metric(MetricExpr::Binary(Box::new(BinaryExpr { op, left, right, return_bool, matching })))
    }

    /// Reports a log query as an operand. What it returns is never seen.
    fn wrong_leg(&mut self, leg: &str, op: BinaryOp, expr: &Expr) -> Expr {
        let kind = match expr {
            Expr::Log(log) if log.stages.is_empty() => "*syntax.MatchersExpr",
            _ => "*syntax.PipelineExpr",
        };
        self.fault(format!("unexpected type for {leg} leg of binary operation ({}): {kind}", op.symbol()));
        Expr::Metric(MetricExpr::Literal(0.0))
    }
}

/// Binary operators with their precedence; the higher one binds tighter.
fn binary_op(kind: &Kind<'_>) -> Option<(BinaryOp, u8)> {
    Some(match kind {
        Kind::Word(Word::Or) => (BinaryOp::Or, 0),
        Kind::Word(Word::And) => (BinaryOp::And, 1),
        Kind::Word(Word::Unless) => (BinaryOp::Unless, 1),
        Kind::Symbol("==") => (BinaryOp::Compare(CompareOp::Equal), 2),
        Kind::Symbol("!=") => (BinaryOp::Compare(CompareOp::NotEqual), 2),
        Kind::Symbol(">") => (BinaryOp::Compare(CompareOp::Greater), 2),
        Kind::Symbol(">=") => (BinaryOp::Compare(CompareOp::GreaterOrEqual), 2),
        Kind::Symbol("<") => (BinaryOp::Compare(CompareOp::Less), 2),
        Kind::Symbol("<=") => (BinaryOp::Compare(CompareOp::LessOrEqual), 2),
        Kind::Symbol("+") => (BinaryOp::Add, 3),
        Kind::Symbol("-") => (BinaryOp::Sub, 3),
        Kind::Symbol("*") => (BinaryOp::Mul, 4),
        Kind::Symbol("/") => (BinaryOp::Div, 4),
        Kind::Symbol("%") => (BinaryOp::Mod, 4),
        Kind::Symbol("^") => (BinaryOp::Pow, 5),
        _ => return None,
    })
}

/// The value of an operation on two literals. Division and modulo by zero give NaN.
fn fold(op: BinaryOp, left: f64, right: f64) -> f64 {
    let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
    match op {
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Mul => left * right,
        BinaryOp::Div | BinaryOp::Mod if right == 0.0 => f64::NAN,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Compare(CompareOp::Equal) => truth(left == right),
        BinaryOp::Compare(CompareOp::NotEqual) => truth(left != right),
        BinaryOp::Compare(CompareOp::Greater) => truth(left > right),
        BinaryOp::Compare(CompareOp::GreaterOrEqual) => truth(left >= right),
        BinaryOp::Compare(CompareOp::Less) => truth(left < right),
        BinaryOp::Compare(CompareOp::LessOrEqual) => truth(left <= right),
        // Reported as a mistake by the caller.
        BinaryOp::And | BinaryOp::Unless | BinaryOp::Or => 0.0,
    }
}
