//! Tokens, and the words that some of them are.

use std::fmt;

use crate::ast::{RangeOp, VectorOp};

/// A token and where it starts in the query.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) start: usize,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind<'a> {
    End,
    Identifier(&'a str),
    /// A character that LogQL has no use for. To Loki's grammar it is an identifier; so it is here, until the end.
    Unknown(&'a str),
    String(String),
    /// As written, without a sign.
    Number(&'a str),
    /// In ns.
    Duration(i64),
    Bytes(u64),
    /// `[5m]`, in ns.
    Range(i64),
    Flag(Flag),
    Word(Word),
    Function(Function),
    /// An operator or bracket, as written.
    Symbol(&'static str),
}

/// Options of `logfmt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    Strict,
    KeepEmpty,
}

macro_rules! words {
    ($($name:ident $text:literal,)*) => {
        /// Reserved words: never a label name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Word { $($name,)* }

        impl Word {
            /// `text` in any letter case.
            pub(super) fn parse(text: &str) -> Option<Self> {
                const WORDS: &[(&str, Word)] = &[$(($text, Word::$name),)*];
                WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, word)| *word)
            }

            fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

words! {
    And "and",
    Bool "bool",
    By "by",
    Decolorize "decolorize",
    Drop "drop",
    GroupLeft "group_left",
    GroupRight "group_right",
    Ignoring "ignoring",
    Json "json",
    Keep "keep",
    LabelFormat "label_format",
    LineFormat "line_format",
    Logfmt "logfmt",
    Of "of",
    Offset "offset",
    On "on",
    Or "or",
    Pattern "pattern",
    Regexp "regexp",
    Unless "unless",
    Unpack "unpack",
    Unwrap "unwrap",
    Variants "variants",
    Without "without",
}

/// Words with a meaning only in front of `(`, `by (` or `without (`; plain identifiers elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Range(RangeOp),
    Aggregation(VectorOp),
    Vector,
    LabelReplace,
    Ip,
    Bytes,
    Duration,
    DurationSeconds,
}

impl Function {
    /// `text` in any letter case.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let range = RangeOp::ALL.iter().find(|op| op.name().eq_ignore_ascii_case(text));
        if let Some(op) = range {
            return Some(Self::Range(*op));
        }
        let aggregation = VectorOp::ALL.iter().find(|op| op.name().eq_ignore_ascii_case(text));
        if let Some(op) = aggregation {
            return Some(Self::Aggregation(*op));
        }
        const OTHERS: [Function; 6] = [
            Function::Vector,
            Function::LabelReplace,
            Function::Ip,
            Function::Bytes,
            Function::Duration,
            Function::DurationSeconds,
        ];
        OTHERS.into_iter().find(|function| function.text().eq_ignore_ascii_case(text))
    }

    fn text(self) -> &'static str {
        match self {
            Self::Range(op) => op.name(),
            Self::Aggregation(op) => op.name(),
            Self::Vector => "vector",
            Self::LabelReplace => "label_replace",
            Self::Ip => "ip",
            Self::Bytes => "bytes",
            Self::Duration => "duration",
            Self::DurationSeconds => "duration_seconds",
        }
    }
}

/// As error messages name the token.
impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::End => "$end",
            Self::Identifier(_) | Self::Unknown(_) => "IDENTIFIER",
            Self::String(_) => "STRING",
            Self::Number(_) => "NUMBER",
            Self::Duration(_) => "DURATION",
            Self::Bytes(_) => "BYTES",
            Self::Range(_) => "RANGE",
            Self::Flag(_) => "FUNCTION_FLAG",
            Self::Word(word) => word.text(),
            Self::Symbol(symbol) => symbol,
            Self::Function(Function::Ip) => "ip",
            Self::Function(function @ (Function::Bytes | Function::Duration | Function::DurationSeconds)) => {
                return write!(f, "{}_CONV", function.text().to_ascii_uppercase());
            }
            Self::Function(function) => return f.write_str(&function.text().to_ascii_uppercase()),
        })
    }
}
