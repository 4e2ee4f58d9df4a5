//! The LogQL syntax tree. Plain data: the parser builds it, the printer prints it, `pipeline` and the engine's
//! query planner read it.
//!
//! ```text
//! {app="web"} |= "x" | json | status >= 500            Expr::Log(LogExpr)
//! sum by (app) (rate({app="web"} | json [5m]))         Expr::Metric(MetricExpr::Vector(..Range(..)))
//! ```

#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// Answers with streams of entries.
    Log(LogExpr),
    /// Answers with a vector, a matrix or a scalar.
    Metric(MetricExpr),
    /// `variants(…) of (…)`: known, formatted, and refused by the default configuration (contract: logql.md, 11.5).
    Variants(Box<Variants>),
}

/// Several aggregations over one scan.
#[derive(Debug, Clone, PartialEq)]
pub struct Variants {
    /// What is computed; at least one.
    pub variants: Vec<MetricExpr>,
    pub log: LogExpr,
    /// `| unwrap …`, after the stages of `log`.
    pub unwrap: Option<Unwrap>,
    /// Window length, ns.
    pub range_ns: i64,
    /// `offset`, ns.
    pub offset_ns: i64,
}

/// A selector and the pipeline behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct LogExpr {
    /// All must hold on the stream labels.
    pub selector: Vec<Matcher>,
    /// Stages in query order.
    pub stages: Vec<Stage>,
}

/// `name OP "value"`, on stream labels (selector), or in `drop` and `keep`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Matcher {
    pub name: String,
    /// How to compare.
    pub op: MatchOp,
    /// Text, or a regular expression in RE2 syntax (not yet translated).
    pub value: String,
}

/// `=` `!=` `=~` `!~`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// As in a query: `=~`.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// One step of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// `|= "a" or "b"` and its kin.
    LineFilter(LineFilter),
    /// `| json` (no extractions: the whole object) or `| json a="x.y", b`.
    #[allow(missing_docs, reason = "shown in the line above")]
    Json {
        /// Named paths; empty for the whole object.
        extractions: Vec<Extraction>,
    },
    /// `| logfmt [--strict] [--keep-empty] [a="key", b]`
    #[allow(missing_docs, reason = "shown in the line above")]
    Logfmt {
        /// Stop at the first fault and say so.
        strict: bool,
        /// Keep keys without a value.
        keep_empty: bool,
        /// Named keys; empty for all.
        extractions: Vec<Extraction>,
    },
    /// `| regexp "re"`
    Regexp(String),
    /// `| pattern "p"`
    Pattern(String),
    /// `| unpack`
    Unpack,
    /// `| decolorize`
    Decolorize,
    /// `| status >= 500 and app="x"`
    LabelFilter(LabelFilter),
    /// `| line_format "template"`
    LineFormat(String),
    /// `| label_format a=b, c="template"`
    LabelFormat(Vec<LabelFormat>),
    /// `| drop a, b="v"`
    Drop(Vec<LabelSelection>),
    /// `| keep a, b="v"`
    Keep(Vec<LabelSelection>),
}

/// `label="expression"`; `label` alone means `label="label"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extraction {
    /// The label to set.
    pub label: String,
    /// JSON path or logfmt key.
    pub expression: String,
}

/// A line filter with its `or` chain: for the positive ops any item may match, for the negative ones none may.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LineFilter {
    /// The operator of the whole chain.
    pub op: LineFilterOp,
    /// At least one.
    pub items: Vec<LineMatch>,
}

/// The operator of a line filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LineFilterOp {
    /// `|=`
    Contains,
    /// `!=`
    NotContains,
    /// `|~`
    Regex,
    /// `!~`
    NotRegex,
    /// `|>`
    Pattern,
    /// `!>`
    NotPattern,
}

impl LineFilterOp {
    /// As in a query: `|=`.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Contains => "|=",
            Self::NotContains => "!=",
            Self::Regex => "|~",
            Self::NotRegex => "!~",
            Self::Pattern => "|>",
            Self::NotPattern => "!>",
        }
    }
}

/// What a line filter looks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LineMatch {
    /// Text, regular expression or pattern, by the operator.
    Text(String),
    /// `ip("10.0.0.0/8")`
    Ip(String),
}

/// A predicate on labels.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "name, op and value of a comparison")]
pub enum LabelFilter {
    And(Box<LabelFilter>, Box<LabelFilter>),
    /// One holds; the right side is not looked at when the left one does.
    Or(Box<LabelFilter>, Box<LabelFilter>),
    /// `name = "text"`, `=~` …
    Text(Matcher),
    /// `name > 5`
    #[allow(missing_docs, reason = "shown in the line above")]
    Number {
        name: String,
        op: CompareOp,
        value: f64,
    },
    /// `name > 5m`, value in ns
    #[allow(missing_docs, reason = "shown in the line above")]
    Duration {
        name: String,
        op: CompareOp,
        value_ns: i64,
    },
    /// `name > 5KB`
    #[allow(missing_docs, reason = "shown in the line above")]
    Bytes {
        name: String,
        op: CompareOp,
        value: u64,
    },
    /// `name = ip("10.0.0.0/8")`; `op` is `Equal` or `NotEqual`
    #[allow(missing_docs, reason = "shown in the line above")]
    Ip {
        name: String,
        op: MatchOp,
        pattern: String,
    },
}

/// `== != > >= < <=`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// `==` (a label filter also takes `=`)
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
}

impl CompareOp {
    /// As in a query: `>=`.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }
}

/// One assignment of `label_format`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFormat {
    /// The label to set.
    pub label: String,
    /// Where its value comes from.
    pub source: LabelFormatSource,
}

/// The right side of a `label_format` assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelFormatSource {
    /// Another label, which disappears.
    Rename(String),
    Template(String),
}

/// One item of `drop` or `keep`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelSelection {
    Name(String),
    /// By name and value.
    Matching(Matcher),
}

/// An expression whose value is a vector at each step.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricExpr {
    /// `rate({…}[5m])`
    Range(RangeAggregation),
    /// `sum by (a) (…)`
    Vector(VectorAggregation),
    /// `a + b`
    Binary(Box<BinaryExpr>),
    /// `5`
    Literal(f64),
    /// `vector(5)`
    VectorLiteral(f64),
    /// `label_replace(v, "dst", "$1", "src", "re")`
    LabelReplace(Box<LabelReplace>),
}

/// A function over the entries or unwrapped values of a sliding window.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeAggregation {
    pub op: RangeOp,
    /// The quantile of `quantile_over_time`.
    pub param: Option<f64>,
    pub log: LogExpr,
    /// `| unwrap …`, after the stages of `log`.
    pub unwrap: Option<Unwrap>,
    /// Window length, ns; 0 is legal.
    pub range_ns: i64,
    /// `offset`, ns; negative looks ahead.
    pub offset_ns: i64,
    /// `by` or `without` behind the closing parenthesis.
    pub grouping: Option<Grouping>,
}

/// `| unwrap [conversion(]label[)] [| label filter]*`
#[derive(Debug, Clone, PartialEq)]
pub struct Unwrap {
    /// The label that holds the value.
    pub label: String,
    /// How its text becomes a number.
    pub conversion: UnwrapConversion,
    /// Label filters that follow, all must hold.
    pub filters: Vec<LabelFilter>,
}

/// How `unwrap` reads the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnwrapConversion {
    Number,
    /// `duration(x)`: Go duration to seconds.
    Duration,
    /// `duration_seconds(x)`: the same; kept apart for printing.
    DurationSeconds,
    /// `bytes(x)`: humanised size to bytes.
    Bytes,
}

/// Functions over a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as in LogQL")]
pub enum RangeOp {
    CountOverTime,
    Rate,
    RateCounter,
    BytesOverTime,
    BytesRate,
    AvgOverTime,
    SumOverTime,
    MinOverTime,
    MaxOverTime,
    StddevOverTime,
    StdvarOverTime,
    QuantileOverTime,
    FirstOverTime,
    LastOverTime,
    AbsentOverTime,
}

impl RangeOp {
    pub const ALL: [Self; 15] = [
        Self::CountOverTime,
        Self::Rate,
        Self::RateCounter,
        Self::BytesOverTime,
        Self::BytesRate,
        Self::AvgOverTime,
        Self::SumOverTime,
        Self::MinOverTime,
        Self::MaxOverTime,
        Self::StddevOverTime,
        Self::StdvarOverTime,
        Self::QuantileOverTime,
        Self::FirstOverTime,
        Self::LastOverTime,
        Self::AbsentOverTime,
    ];

    /// As in a query: `count_over_time`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CountOverTime => "count_over_time",
            Self::Rate => "rate",
            Self::RateCounter => "rate_counter",
            Self::BytesOverTime => "bytes_over_time",
            Self::BytesRate => "bytes_rate",
            Self::AvgOverTime => "avg_over_time",
            Self::SumOverTime => "sum_over_time",
            Self::MinOverTime => "min_over_time",
            Self::MaxOverTime => "max_over_time",
            Self::StddevOverTime => "stddev_over_time",
            Self::StdvarOverTime => "stdvar_over_time",
            Self::QuantileOverTime => "quantile_over_time",
            Self::FirstOverTime => "first_over_time",
            Self::LastOverTime => "last_over_time",
            Self::AbsentOverTime => "absent_over_time",
        }
    }
}

/// `by (a, b)` or `without (a, b)`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grouping {
    /// True for `without`.
    pub without: bool,
    pub labels: Vec<String>,
}

/// An aggregation over the series of a vector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorAggregation {
    pub op: VectorOp,
    /// k of `topk`, `bottomk`, `approx_topk`; at least 1.
    pub param: Option<u64>,
    /// `None`: one group, without labels.
    pub grouping: Option<Grouping>,
    pub inner: Box<MetricExpr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as in LogQL")]
pub enum VectorOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    ApproxTopk,
    Sort,
    SortDesc,
}

impl VectorOp {
    pub const ALL: [Self; 12] = [
        Self::Sum,
        Self::Avg,
        Self::Min,
        Self::Max,
        Self::Count,
        Self::Stddev,
        Self::Stdvar,
        Self::Topk,
        Self::Bottomk,
        Self::ApproxTopk,
        Self::Sort,
        Self::SortDesc,
    ];

    /// As in a query: `sort_desc`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Count => "count",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::ApproxTopk => "approx_topk",
            Self::Sort => "sort",
            Self::SortDesc => "sort_desc",
        }
    }
}

/// `left OP [bool] [on|ignoring (…)] [group_left|group_right (…)] right`
#[derive(Debug, Clone, PartialEq)]
pub struct BinaryExpr {
    pub op: BinaryOp,
    pub left: MetricExpr,
    pub right: MetricExpr,
    /// `bool`: comparisons answer 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How series of the two sides pair up; `None`: on all labels, one to one.
    pub matching: Option<VectorMatching>,
}

/// How series of two vectors pair up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorMatching {
    /// True for `on`, false for `ignoring`.
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// `group_left` or `group_right`.
    pub group: Option<GroupSide>,
}

/// The many side of a match, and the labels taken over from the one side.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in LogQL")]
pub enum GroupSide {
    Left { include: Vec<String> },
    Right { include: Vec<String> },
}

/// Binary operators, by falling precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as in LogQL")]
pub enum BinaryOp {
    Pow,
    Mul,
    Div,
    Mod,
    Add,
    Sub,
    Compare(CompareOp),
    And,
    Unless,
    Or,
}

impl BinaryOp {
    /// As in a query: `>=`, `unless`.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Pow => "^",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Compare(op) => op.symbol(),
            Self::And => "and",
            Self::Unless => "unless",
            Self::Or => "or",
        }
    }

    /// `and`, `unless`, `or`: they look at label sets, not at values.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Unless | Self::Or)
    }
}

/// `label_replace(inner, "dst", "replacement", "src", "regex")`
#[derive(Debug, Clone, PartialEq)]
pub struct LabelReplace {
    pub inner: MetricExpr,
    /// Label to set.
    pub dst: String,
    /// `$1`, `${name}` expand.
    pub replacement: String,
    /// Label to read; a missing one reads as "".
    pub src: String,
    /// Anchored, RE2 syntax.
    pub regex: String,
}
