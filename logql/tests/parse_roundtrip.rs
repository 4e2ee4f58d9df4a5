//! Any syntax tree, printed and parsed, is itself again; and the parser survives any text.

use logstack_go::re2;
use logstack_logql::ast::{
    BinaryExpr, BinaryOp, CompareOp, Expr, Extraction, GroupSide, Grouping, LabelFilter, LabelFormat,
    LabelFormatSource, LabelReplace, LabelSelection, LineFilter, LineFilterOp, LineMatch, LogExpr, MatchOp, Matcher,
    MetricExpr, RangeAggregation, RangeOp, Stage, Unwrap, UnwrapConversion, Variants, VectorAggregation,
    VectorMatching, VectorOp,
};
use logstack_logql::{parse, parse_selector};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

/// Label names, also such as are functions in another place.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z_][a-z0-9_]{0,6}".prop_filter("a reserved word", |name| {
            !matches!(name.as_str(), "by" | "on" | "or" | "of" | "and" | "bool" | "json" | "drop" | "keep")
        }),
        1 => select(vec!["rate", "sum", "bytes", "ip", "vector", "é", "duration"]).prop_map(str::to_owned),
    ]
}

/// Any text a query can quote.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,8}", "[a-z \"'`\\\\\n\t]{0,6}"]
}

fn pattern() -> impl Strategy<Value = String> {
    select(vec!["a.*", "(?i)x|y", "\\d+", "", "[^a]{2,}"]).prop_map(str::to_owned)
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
    (name(), op, text(), pattern()).prop_map(|(name, op, text, pattern)| {
        let is_regex = matches!(op, MatchOp::Regex | MatchOp::NotRegex);
        Matcher { name, op, value: if is_regex { pattern } else { text } }
    })
}

/// Selective: one matcher needs a value.
fn selector() -> impl Strategy<Value = Vec<Matcher>> {
    vec(matcher(), 0..3).prop_map(|mut matchers| {
        matchers.push(Matcher { name: "app".to_owned(), op: MatchOp::Equal, value: "web".to_owned() });
        matchers
    })
}

fn compare_op() -> impl Strategy<Value = CompareOp> {
    use CompareOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    select(vec![Equal, NotEqual, Greater, GreaterOrEqual, Less, LessOrEqual])
}

fn label_filter() -> impl Strategy<Value = LabelFilter> {
    let number = prop_oneof![any::<i32>().prop_map(f64::from), any::<f64>().prop_filter("NaN", |v| !v.is_nan())];
    let leaf = prop_oneof![
        matcher().prop_map(LabelFilter::Text),
        (name(), compare_op(), number).prop_map(|(name, op, value)| LabelFilter::Number { name, op, value }),
        (name(), compare_op(), any::<i64>()).prop_map(|(name, op, value_ns)| LabelFilter::Duration {
            name,
            op,
            value_ns
        }),
        (name(), compare_op(), prop_oneof![0..5000_u64, 0..1_u64 << 50])
            .prop_map(|(name, op, value)| LabelFilter::Bytes { name, op, value }),
        (name(), select(vec![MatchOp::Equal, MatchOp::NotEqual]), text())
            .prop_map(|(name, op, pattern)| LabelFilter::Ip { name, op, pattern }),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        (inner.clone(), inner, any::<bool>()).prop_map(|(left, right, and)| {
            let (left, right) = (Box::new(left), Box::new(right));
            if and { LabelFilter::And(left, right) } else { LabelFilter::Or(left, right) }
        })
    })
}

fn line_filter() -> impl Strategy<Value = LineFilter> {
    use LineFilterOp::{Contains, NotContains, NotPattern, NotRegex, Pattern, Regex};
    let op = select(vec![Contains, NotContains, Regex, NotRegex, Pattern, NotPattern]);
    let item = prop_oneof![3 => text().prop_map(LineMatch::Text), 1 => text().prop_map(LineMatch::Ip)];
    (op, vec(item, 1..4)).prop_map(|(op, items)| LineFilter { op, items })
}

fn stage() -> impl Strategy<Value = Stage> {
    let extractions = || vec((name(), text()).prop_map(|(label, expression)| Extraction { label, expression }), 0..3);
    let source = prop_oneof![name().prop_map(LabelFormatSource::Rename), text().prop_map(LabelFormatSource::Template)];
    let selection = || {
        let one = prop_oneof![name().prop_map(LabelSelection::Name), matcher().prop_map(LabelSelection::Matching)];
        vec(one, 1..4)
    };
    prop_oneof![
        line_filter().prop_map(Stage::LineFilter),
        extractions().prop_map(|extractions| Stage::Json { extractions }),
        (any::<bool>(), any::<bool>(), extractions()).prop_map(|(strict, keep_empty, extractions)| Stage::Logfmt {
            strict,
            keep_empty,
            extractions
        }),
        select(vec!["(?P<a>x)", "(?P<1>\\w+) (?P<b>\"y)"]).prop_map(|pattern| Stage::Regexp(pattern.to_owned())),
        select(vec!["<a> <_>", "x <b>\"<c>\n"]).prop_map(|pattern| Stage::Pattern(pattern.to_owned())),
        Just(Stage::Unpack),
        Just(Stage::Decolorize),
        label_filter().prop_map(Stage::LabelFilter),
        text().prop_map(Stage::LineFormat),
        vec((name(), source).prop_map(|(label, source)| LabelFormat { label, source }), 1..3)
            .prop_map(Stage::LabelFormat),
        selection().prop_map(Stage::Drop),
        selection().prop_map(Stage::Keep),
    ]
}

fn log() -> impl Strategy<Value = LogExpr> {
    let stages = vec(stage(), 0..4).prop_map(|mut stages| {
        // `| drop a != "x"` can only mean one thing, which is not a line filter behind `drop a`.
        let ends_in_name = |stage: &Stage| match stage {
            Stage::Drop(items) | Stage::Keep(items) => matches!(items.last(), Some(LabelSelection::Name(_))),
            _ => false,
        };
        let mut after_name = false;
        stages.retain(|stage| {
            let negative = matches!(stage, Stage::LineFilter(filter)
                if matches!(filter.op, LineFilterOp::NotContains | LineFilterOp::NotRegex));
            let keep = !(after_name && negative);
            after_name = if keep { ends_in_name(stage) } else { after_name };
            keep
        });
        stages
    });
    (selector(), stages).prop_map(|(selector, stages)| LogExpr { selector, stages })
}

fn grouping() -> impl Strategy<Value = Grouping> {
    (any::<bool>(), vec(name(), 0..3)).prop_map(|(without, labels)| Grouping { without, labels })
}

fn unwrap() -> impl Strategy<Value = Unwrap> {
    use UnwrapConversion::{Bytes, Duration, DurationSeconds, Number};
    (name(), select(vec![Number, Duration, DurationSeconds, Bytes]), vec(label_filter(), 0..3))
        .prop_map(|(label, conversion, filters)| Unwrap { label, conversion, filters })
}

fn range_aggregation() -> impl Strategy<Value = RangeAggregation> {
    let offset = prop_oneof![Just(0), any::<i64>()];
    // Ranges are written in whole milliseconds.
    let range = (0..i64::MAX / 1_000_000).prop_map(|ms| ms * 1_000_000);
    (select(RangeOp::ALL.to_vec()), 0.0..1.0, log(), unwrap(), range, offset, of(grouping())).prop_map(
        |(op, param, log, unwrap, range_ns, offset_ns, grouping)| {
            use RangeOp::{AbsentOverTime, BytesOverTime, BytesRate, CountOverTime, QuantileOverTime, Rate};
            use RangeOp::{RateCounter, SumOverTime};
            let counts = matches!(op, CountOverTime | BytesOverTime | BytesRate);
            let never_groups = counts || matches!(op, Rate | RateCounter | SumOverTime | AbsentOverTime);
            RangeAggregation {
                op,
                param: (op == QuantileOverTime).then_some(param),
                log,
                unwrap: (!counts).then_some(unwrap),
                range_ns,
                offset_ns,
                grouping: grouping.filter(|_| !never_groups),
            }
        },
    )
}

fn matching() -> impl Strategy<Value = VectorMatching> {
    let side = (any::<bool>(), vec(name(), 0..3))
        .prop_map(|(left, include)| if left { GroupSide::Left { include } } else { GroupSide::Right { include } });
    (any::<bool>(), vec(name(), 0..3), of(side)).prop_map(|(on, labels, group)| VectorMatching { on, labels, group })
}

fn vector_aggregation(op: VectorOp, param: u64, grouping: Option<Grouping>, inner: MetricExpr) -> MetricExpr {
    let sorts = matches!(op, VectorOp::Sort | VectorOp::SortDesc | VectorOp::ApproxTopk);
    let takes_param = matches!(op, VectorOp::Topk | VectorOp::Bottomk | VectorOp::ApproxTopk);
    MetricExpr::Vector(VectorAggregation {
        op,
        param: takes_param.then_some(param),
        grouping: grouping.filter(|grouping| !sorts && (grouping.without || !grouping.labels.is_empty())),
        inner: Box::new(inner),
    })
}

fn metric() -> impl Strategy<Value = MetricExpr> {
    let leaf = prop_oneof![
        4 => range_aggregation().prop_map(MetricExpr::Range),
        1 => (0.0..1e9).prop_map(MetricExpr::VectorLiteral),
    ];
    let binary_op = prop_oneof![
        compare_op().prop_map(BinaryOp::Compare),
        select(vec![BinaryOp::Pow, BinaryOp::Mul, BinaryOp::Div, BinaryOp::Mod, BinaryOp::Add, BinaryOp::Sub]),
        select(vec![BinaryOp::And, BinaryOp::Unless, BinaryOp::Or]),
    ]
    .boxed();
    leaf.prop_recursive(3, 8, 2, move |inner| {
        let right = (inner.clone(), of(any::<f64>().prop_filter("NaN", |v| !v.is_nan())));
        prop_oneof![
            (select(VectorOp::ALL.to_vec()), 1..1000_u64, of(grouping()), inner.clone())
                .prop_map(|(op, param, grouping, inner)| vector_aggregation(op, param, grouping, inner)),
            (binary_op.clone(), inner.clone(), right, any::<bool>(), of(matching())).prop_map(
                |(op, left, (right, literal), return_bool, matching)| {
                    let right = match literal {
                        Some(value) if !op.is_set() => MetricExpr::Literal(value),
                        _ => right,
                    };
                    MetricExpr::Binary(Box::new(BinaryExpr { op, left, right, return_bool, matching }))
                }
            ),
            (inner, text(), text(), text(), pattern()).prop_map(|(inner, dst, replacement, src, regex)| {
                MetricExpr::LabelReplace(Box::new(LabelReplace { inner, dst, replacement, src, regex }))
            }),
        ]
    })
}

fn expr() -> impl Strategy<Value = Expr> {
    let variants = (vec(metric(), 1..3), range_aggregation()).prop_map(|(variants, of)| {
        let RangeAggregation { log, unwrap, range_ns, offset_ns, .. } = of;
        Expr::Variants(Box::new(Variants { variants, log, unwrap, range_ns, offset_ns }))
    });
    prop_oneof![4 => log().prop_map(Expr::Log), 4 => metric().prop_map(Expr::Metric), 1 => variants]
}

/// Words and signs of the language in any order.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        select(vec![
            "{",
            "}",
            "(",
            ")",
            "[5m]",
            "[",
            "|",
            "|=",
            "!=",
            "=",
            "=~",
            ",",
            "or",
            "and",
            "by",
            "without",
            "sum",
            "rate",
            "json",
            "logfmt",
            "unwrap",
            "bytes(",
            "ip(",
            "\"x\"",
            "`y`",
            "'z'",
            "5",
            "-",
            "--strict",
            "5m",
            "-5m",
            "5KB",
            "a",
            "topk",
            "on",
            "group_left",
            "bool",
            "offset",
            "^",
            "label_replace(",
            "vector(",
            "drop",
            "{a=\"b\"}",
            "count_over_time(",
            "\n",
            "#",
            "/*",
            "é",
            "\u{0}",
            "0x",
            "variants(",
            "of",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,3}",
    ];
    (vec(piece, 0..24), select(vec!["", " "])).prop_map(|(pieces, blank)| pieces.join(blank))
}

proptest! {
    #[test]
    fn printed_and_parsed_is_itself(expr in expr()) {
        let printed = expr.to_string();
        let parsed = parse(&printed);
        prop_assert_eq!(parsed.as_ref(), Ok(&expr), "{}", printed);
        let pretty = expr.pretty();
        let parsed = parse(&pretty);
        // Sizes are rounded there, as Loki rounds them.
        let has_sizes = format!("{expr:?}").contains("Bytes {");
        prop_assert!(parsed.as_ref() == Ok(&expr) || (parsed.is_ok() && has_sizes), "{}", pretty);
    }

    #[test]
    fn survives_any_text(text in prop_oneof![soup(), any::<String>()]) {
        if let Ok(expr) = parse(&text) {
            let printed = expr.to_string();
            prop_assert!(parse(&printed).is_ok(), "{} was printed as {}", text, printed);
        }
        let _ = parse_selector(&text);
    }

    #[test]
    fn translates_what_regex_takes(pattern in "([a-z.|*+?(){}\\[\\]^$,0-9-]|\\\\[a-zA-Z0-9.<]|\\(\\?[imsUP<:-]){0,12}") {
        match (re2::translate(&pattern), re2::compile(&pattern)) {
            (Ok(_), Err(err)) => prop_assert_eq!(err.reason, re2::Reason::Large, "{}", pattern),
            (translated, compiled) => prop_assert_eq!(translated.err(), compiled.err()),
        }
    }
}

#[test]
fn bounds_the_depth_of_a_query() {
    #[track_caller]
    fn check(query: &str, want: &str) {
        let error = parse(query).map(|_| ()).map_err(|err| err.to_string());
        assert_eq!(error, Err(want.to_owned()), "{}…", &query[..20]);
    }
    let deep = "parse error : query nests deeper than 200 levels";
    check(&"(".repeat(100_000), deep);
    check(&format!("{{a=\"b\"}} | {}", "(".repeat(100_000)), deep);
    check(&"sum(".repeat(30_000), deep);
    check(&format!("rate({}", "(".repeat(100_000)), deep);
    check(&"2^".repeat(60_000), deep);
    let long = "parse error : query has more than 2000 operators";
    check(&format!("{}1", "vector(1)+".repeat(10_000)), long);
    check(&format!("{{a=\"b\"}} | a=1 {}", "or a=1 ".repeat(10_000)), long);
    check(&format!("{{a=\"b\"}} | a=1 {}", "b=1 ".repeat(20_000)), long);
    // A long chain is fine, though it is printed with more parentheses than are read again.
    let chain = format!("{{a=\"b\"}} | a=1 {}", ", b=1".repeat(2_000));
    check(&parse(&chain).unwrap().to_string(), deep);
}
