//! Binary operations: of numbers, of a vector and a number, of two vectors.
//!
//! Source: contract logql.md, 10.

use logstack_logql::ast::{BinaryExpr, BinaryOp, CompareOp};

use super::matching::match_vectors;
use super::series::Matrix;
use crate::query::Error;

/// What an expression evaluates to.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A literal, or what literals come to: the same at each step.
    Scalar(f64),
    /// Series.
    Matrix(Matrix),
}

/// Evaluates `expr`, whose sides have come to `left` and `right`.
///
/// # Errors
/// When series of the two sides do not pair up as the matching demands.
pub fn binary(expr: &BinaryExpr, left: Value, right: Value, steps: usize) -> Result<Value, Error> {
    Ok(match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => Value::Scalar(match compute(expr.op, left, right) {
            Computed::Number(number) => number,
            Computed::Truth(is_true) => f64::from(u8::from(is_true)),
        }),
        (Value::Matrix(vector), Value::Scalar(number)) => {
            Value::Matrix(with_number(expr, vector, |value| compute(expr.op, value, number)))
        }
        (Value::Scalar(number), Value::Matrix(vector)) => {
            Value::Matrix(with_number(expr, vector, |value| compute(expr.op, number, value)))
        }
        (Value::Matrix(left), Value::Matrix(right)) => Value::Matrix(match_vectors(expr, left, right, steps)?),
    })
}

/// A vector and a number: labels stay; a comparison keeps the vector's value, whichever side the number is on.
fn with_number(expr: &BinaryExpr, mut vector: Matrix, compute: impl Fn(f64) -> Computed) -> Matrix {
    for series in &mut vector.series {
        series.column.map(|value| compute(value).point(value, expr.return_bool));
    }
    Matrix { is_ordered: vector.is_ordered, ..Matrix::new(vector.series) }
}

/// What an operator makes of two numbers.
pub(super) enum Computed {
    /// Arithmetic.
    Number(f64),
    /// A comparison.
    Truth(bool),
}

impl Computed {
    /// The point that results; `kept` is what a filtering comparison lets through.
    pub(super) fn point(self, kept: f64, return_bool: bool) -> Option<f64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Truth(is_true) if return_bool => Some(f64::from(u8::from(is_true))),
            Self::Truth(is_true) => is_true.then_some(kept),
        }
    }
}

/// Applies an arithmetic operator or a comparison. Division by zero is NaN, never infinite.
pub(super) fn compute(op: BinaryOp, left: f64, right: f64) -> Computed {
    Computed::Number(match op {
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Mul => left * right,
        BinaryOp::Div if right == 0.0 => f64::NAN,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Compare(op) => return Computed::Truth(compare(op, left, right)),
        // The parser refuses set operators with a number, and vectors never come here with one.
        BinaryOp::And | BinaryOp::Unless | BinaryOp::Or => f64::NAN,
    })
}

fn compare(op: CompareOp, left: f64, right: f64) -> bool {
    match op {
        CompareOp::Equal => left == right,
        CompareOp::NotEqual => left != right,
        CompareOp::Greater => left > right,
        CompareOp::GreaterOrEqual => left >= right,
        CompareOp::Less => left < right,
        CompareOp::LessOrEqual => left <= right,
    }
}

#[cfg(test)]
mod tests {
    use logstack_logql::ast::MetricExpr;

    use super::super::series::testing::{matrix, show};
    use super::*;

    fn expr(op: BinaryOp, return_bool: bool) -> BinaryExpr {
        let side = || MetricExpr::Literal(0.0);
        BinaryExpr { op, left: side(), right: side(), return_bool, matching: None }
    }

    #[test]
    fn computes_numbers() {
        #[track_caller]
        fn check(op: BinaryOp, left: f64, right: f64, want: f64) {
            let got = binary(&expr(op, false), Value::Scalar(left), Value::Scalar(right), 1).unwrap();
            let Value::Scalar(got) = got else { panic!("{got:?}") };
            assert!(got == want || got.is_nan() && want.is_nan(), "{op:?}: {got}");
        }
        check(BinaryOp::Pow, 2.0, 9.0, 512.0);
        check(BinaryOp::Mod, 10.0, 4.0, 2.0);
        check(BinaryOp::Mod, -7.0, 2.0, -1.0);
        check(BinaryOp::Div, 1.0, 0.0, f64::NAN);
        check(BinaryOp::Mod, 1.0, 0.0, f64::NAN);
        check(BinaryOp::Compare(CompareOp::Greater), 1.0, 2.0, 0.0);
        check(BinaryOp::Compare(CompareOp::NotEqual), f64::NAN, f64::NAN, 1.0);
    }

    #[test]
    fn combines_vectors_with_numbers() {
        #[track_caller]
        fn check(op: BinaryOp, return_bool: bool, number_first: bool, number: f64, want: &str) {
            let vector = Value::Matrix(matrix(&[("a=1", &[4.0, 2.0]), ("a=2", &[3.0, 3.0])]));
            let expr = expr(op, return_bool);
            let number = Value::Scalar(number);
            let got = if number_first { binary(&expr, number, vector, 2) } else { binary(&expr, vector, number, 2) };
            let Value::Matrix(got) = got.unwrap() else { panic!("a scalar") };
            assert_eq!(show(&got), want);
        }
        let greater = BinaryOp::Compare(CompareOp::Greater);
        check(greater, false, false, 3.0, "{a=1} 4 _");
        check(greater, true, false, 3.0, "{a=1} 1 0; {a=2} 0 0");
        check(greater, false, true, 4.0, "{a=1} _ 2; {a=2} 3 3");
        check(BinaryOp::Sub, true, true, 10.0, "{a=1} 6 8; {a=2} 7 7");
        check(BinaryOp::Div, false, false, 0.0, "{a=1} NaN NaN; {a=2} NaN NaN");
    }
}
