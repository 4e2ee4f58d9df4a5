//! Blocks come back as they went in, whatever the lines are; the naive scan is the oracle of every search.

use std::sync::Arc;

use bytes::Bytes;
use logstack_logql::Labels;
use logstack_logql::ast::{LineFilter, LineFilterOp, LineMatch};
use logstack_logql::line_filter::CompiledLineFilter;
use logstack_logql::parse_log_selector;
use logstack_logql::pipeline::{Entry, Pipeline, StreamContext, Wanted as WantedLabels};
use proptest::prelude::*;

use super::lines::clock::MONTHS;
use super::*;
use crate::model::{MetadataSet, Rows};

/// Rows with ascending timestamps from parts that a strategy makes.
fn rows_of(parts: &[(i64, Vec<u8>, u8)]) -> Rows {
    let mut rows = Rows::default();
    let mut ts = 1_700_000_000_000_000_000;
    for (step, line, set) in parts {
        ts += step;
        let set: MetadataSet = (0..*set).map(|i| (format!("k{i}").into(), format!("v{set}").into())).collect();
        let id = rows.metadata.intern(set);
        rows.push(ts, line, id);
    }
    rows
}

#[track_caller]
fn check_round_trip(rows: &Rows, level: Level) {
    let mut dict = TemplateDict::new();
    let mut block = vec![0xAA; 3];
    let encoded = BlockEncoder::new(level, 3).encode(rows, &mut dict, &mut block).unwrap();
    let mut record = Vec::new();
    encoded.meta.write(&mut record);
    dict.write(&mut record);
    let mut rest = &record[..];
    let meta = BlockMeta::read(&mut rest).unwrap();
    let dict = TemplateDict::read(rest).unwrap();
    assert_eq!(meta, encoded.meta);
    assert_eq!(meta.stored_bytes() as usize, block.len() - 3);
    assert_eq!(meta.line_bytes as usize, rows.bytes.len());

    let block = Bytes::from(block).slice(3..);
    let mut reader = BlockReader::new(&meta, &dict, &block);
    let all = RowSet::full(rows.len());
    let mut back = Rows::default();
    reader.render(&all, Wanted::ALL, &mut back).unwrap();
    assert_eq!(back.timestamps, rows.timestamps);
    for row in 0..rows.len() {
        assert_eq!(back.line(row), rows.line(row), "line {row}");
        assert_eq!(back.metadata.get(back.metadata_ids[row]), rows.metadata.get(rows.metadata_ids[row]));
    }
    // One row alone takes other ways than all of them.
    for row in [0, rows.len() / 2, rows.len() - 1] {
        let mut reader = BlockReader::new(&meta, &dict, &block);
        let mut one = RowSet::range(rows.len(), row..row + 1);
        let mut back = Rows::default();
        reader.render(&one, Wanted::ALL, &mut back).unwrap();
        let metadata = rows.metadata.get(rows.metadata_ids[row]);
        assert_eq!((back.line(0), back.timestamps[0]), (rows.line(row), rows.timestamps[row]));
        assert_eq!(back.metadata.get(back.metadata_ids[0]), metadata, "row {row}");
        reader.select_metadata(&mut |set| set == metadata, &mut one).unwrap();
        assert_eq!(one.count(), 1);
        reader.select_metadata(&mut |set| set != metadata, &mut one).unwrap();
        assert_eq!(one.count(), 0);
    }
    let mut lengths = Vec::new();
    BlockReader::new(&meta, &dict, &block).line_lengths(&all, &mut lengths).unwrap();
    let want: Vec<u32> = (0..rows.len()).map(|row| rows.line(row).len() as u32).collect();
    assert_eq!(lengths, want);
}

proptest! {
    #[test]
    fn arbitrary_lines_come_back(
        parts in prop::collection::vec((0..5_000_000_000_i64, prop::collection::vec(any::<u8>(), 0..60), 0..3_u8), 1..80),
    ) {
        let rows = rows_of(&parts);
        for level in [Level::Quick, Level::Fresh, Level::Settled] {
            check_round_trip(&rows, level);
        }
    }

    #[test]
    fn damage_is_an_error_or_harmless(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = BlockMeta::read(&mut &bytes[..]);
        let _ = TemplateDict::read(&bytes);
        let _ = FilterIndex::read(&bytes);
    }
}

/// Lines as programs print them, with a few bytes changed now and then.
fn log_line() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        (0..5_u8, 0..100_000_u32, "[a-z]{1,3}").prop_map(|(level, n, w)| {
            format!("2026-11-22 15:20:{:02},{:03} - svc.{w} - {n} - L{level} - GET-{n} took {}.{n:03}s", n % 60, n % 1000, n % 7)
        }),
        (0..300_u32, "[0-9a-f]{6,9}", "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}").prop_map(
            |(n, hex, uuid)| format!("ip=10.0.{}.{n} id={hex} uuid={uuid} n={n:04} x={}", n % 300, n % 3)
        ),
        (0..9_u32, "[A-Za-z0-9_-]{8,24}", 0..20_u32).prop_map(|(n, id, u)| {
            format!("{{\"time\":17000000{n}{n}.{n},\"room\":\"!{id}:example.org\",\"user\":\"@user{u:03}:example.org\",\"agent\":\"Agent {u} (x; {u})\"}}")
        }),
        (0..600_u32, 0..12_usize, "[a-zA-Z]{1,9}").prop_map(|(n, month, w)| {
            let month = str::from_utf8(MONTHS[month]).unwrap();
            match n % 2 {
                0 => format!("10.0.0.{} - - [22/{month}/2026:15:20:{:02} +0000] \"GET /{w} HTTP/1.1\" {n}", n % 256, n % 60),
                _ => format!("{month} 22 15:20:{:02} host {w}[{n}]: {w} done", n % 60),
            }
        }),
        (1..40_usize, 0..4_u32).prop_map(|(n, d)| format!("values {} end", vec![format!("{d}.{d}.{d}"); n].join(", "))),
        Just(String::new()),
        "\\PC{0,40}",
    ];
    (text, prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()))).prop_map(|(text, change)| {
        let mut line = text.into_bytes();
        if let Some((at, byte)) = change
            && !line.is_empty()
        {
            let at = at.index(line.len());
            line[at] = byte;
        }
        line
    })
}

proptest! {
    #[test]
    fn log_lines_come_back(
        parts in prop::collection::vec((0..5_000_000_000_i64, log_line(), 0..3_u8), 1..400),
    ) {
        let rows = rows_of(&parts);
        for level in [Level::Fresh, Level::Settled] {
            check_round_trip(&rows, level);
        }
    }
}

/// A filter made of pieces of the lines, so that it finds some.
fn filter_of(lines: &[Vec<u8>], pick: &FilterPick) -> Option<LineFilter> {
    let piece = |(line, start, len, change): &(prop::sample::Index, prop::sample::Index, usize, u8)| {
        let line = String::from_utf8_lossy(&lines[line.index(lines.len())]).into_owned();
        let chars: Vec<char> = line.chars().collect();
        let start = if chars.is_empty() { 0 } else { start.index(chars.len()) };
        let mut text: Vec<char> = chars[start..(start + len).min(chars.len())].to_vec();
        match change {
            0 if !text.is_empty() => text[0] = 'z',
            1 => text.push('9'),
            2 => text.iter_mut().for_each(|c| *c = c.to_ascii_uppercase()),
            _ => {}
        }
        text.into_iter().collect::<String>()
    };
    let texts: Vec<String> = pick.pieces.iter().map(piece).collect();
    let (op, texts) = match pick.op {
        0 => (LineFilterOp::Contains, texts),
        1 => (LineFilterOp::NotContains, texts),
        2 | 3 => {
            let escaped: Vec<String> = texts.iter().map(|text| regex::escape(text)).collect();
            let pattern = match pick.form {
                0 => escaped.join("|"),
                1 => format!("(?i){}", escaped.join("|")),
                2 => escaped.join(".*"),
                3 => format!("^{}", escaped[0]),
                4 => format!("{}[0-9]+", escaped[0]),
                _ => format!("(?i)({}).?$", escaped.join("|")),
            };
            (if pick.op == 2 { LineFilterOp::Regex } else { LineFilterOp::NotRegex }, vec![pattern])
        }
        _ => (LineFilterOp::Pattern, vec![format!("<_>{}<_>", texts[0].replace(['<', '>'], ""))]),
    };
    Some(LineFilter { op, items: texts.into_iter().map(LineMatch::Text).collect() })
}

#[derive(Debug, Clone)]
struct FilterPick {
    op: u8,
    form: u8,
    pieces: Vec<(prop::sample::Index, prop::sample::Index, usize, u8)>,
}

fn filter_pick() -> impl Strategy<Value = FilterPick> {
    let piece =
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), prop_oneof![1..6_usize, 1..90_usize], 0..12_u8);
    (0..6_u8, 0..6_u8, prop::collection::vec(piece, 1..3)).prop_map(|(op, form, pieces)| FilterPick {
        op,
        form,
        pieces,
    })
}

fn finish(filters: FilterIndexBuilder, header: &mut Vec<u8>, rows: &mut Vec<u8>) {
    let put = |bytes: &[u8]| {
        rows.extend_from_slice(bytes);
        Ok::<_, ()>(())
    };
    filters.finish(header, put).unwrap();
}

#[track_caller]
fn check_search(rows: &Rows, filters: &[LineFilter]) {
    let compiled: Vec<Arc<CompiledLineFilter>> =
        filters.iter().filter_map(|filter| CompiledLineFilter::new(filter).ok()).map(Arc::new).collect();
    let want: Vec<usize> =
        (0..rows.len()).filter(|&row| compiled.iter().all(|filter| filter.matches(rows.line(row)))).collect();
    for level in [Level::Quick, Level::Fresh] {
        let mut dict = TemplateDict::new();
        let mut block = Vec::new();
        let encoded = BlockEncoder::new(level, 3).encode(rows, &mut dict, &mut block).unwrap();
        let (mut header, mut matrix) = (Vec::new(), Vec::new());
        let mut builder = FilterIndexBuilder::default();
        builder.push(encoded.filter);
        finish(builder, &mut header, &mut matrix);
        let search = PartSearch::new(&LineSearch::new(compiled.clone()), &dict);
        let mut blocks = RowSet::full(1);
        let index = FilterIndex::read(&header).unwrap();
        index.prune(&search, std::slice::from_ref(&encoded.meta), &Bytes::from(matrix), &mut blocks).unwrap();
        assert!(want.is_empty() || !blocks.is_empty(), "the filter index rules out a block with matches: {filters:?}");
        let block = Bytes::from(block);
        let mut found = RowSet::full(rows.len());
        BlockReader::new(&encoded.meta, &dict, &block).select(&search, &mut found).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), want, "{level:?} {filters:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn searches_answer_like_a_scan(
        parts in prop::collection::vec((0..5_000_000_000_i64, log_line(), 0..2_u8), 1..120),
        picks in prop::collection::vec(prop::collection::vec(filter_pick(), 1..3), 8),
    ) {
        // Stored lines are UTF-8; regular expressions see other bytes as U+FFFD, which no literal does.
        let utf8 = |line: &[u8]| String::from_utf8_lossy(line).into_owned().into_bytes();
        let parts: Vec<_> = parts.iter().map(|part| (part.0, utf8(&part.1), part.2)).collect();
        let rows = rows_of(&parts);
        let lines: Vec<Vec<u8>> = parts.iter().map(|part| part.1.clone()).collect();
        for picks in picks {
            let filters: Vec<LineFilter> = picks.iter().filter_map(|pick| filter_of(&lines, pick)).collect();
            check_search(&rows, &filters);
        }
    }
}

#[test]
fn several_blocks_share_a_part() {
    let (mut dict, mut metas, mut filters) = (TemplateDict::new(), Vec::new(), FilterIndexBuilder::default());
    let mut encoded = Vec::new();
    for level in [Level::Quick, Level::Fresh, Level::Quick, Level::Settled, Level::Fresh] {
        let rows = rows_of(&[(1, Vec::new(), 0)]);
        let mut block = Vec::new();
        let done = BlockEncoder::new(level, 3).encode(&rows, &mut dict, &mut block).unwrap();
        done.meta.write(&mut metas);
        filters.push(done.filter);
        encoded.push(done.meta);
    }
    let mut rest = &metas[..];
    let back: Vec<BlockMeta> = encoded.iter().map(|_| BlockMeta::read(&mut rest).unwrap()).collect();
    assert_eq!(back, encoded);
    assert!(rest.is_empty());
    let (mut header, mut matrix) = (Vec::new(), Vec::new());
    finish(filters, &mut header, &mut matrix);
    FilterIndex::read(&header).unwrap();
}

/// A block goes into a part whose dictionary and filters begin with another block's, and is the same there.
#[test]
fn a_copied_block_is_the_same() {
    let line = |text: &str, i: u64| {
        format!("{text} took {i} ms for user {:x}-{}", i.wrapping_mul(0x9E37_79B9_7F4A_7C15), i % 7)
    };
    let rows = |text: &str| {
        let lines = (0..200_u64).map(|i| (i as i64, line(text, i).into_bytes(), (i % 3) as u8));
        rows_of(&lines.chain([(1, b"\xFF no template \xFE".to_vec(), 1)]).collect::<Vec<_>>())
    };
    let mut encoder = BlockEncoder::new(Level::Settled, 3);
    let (mut dict, mut out) = (TemplateDict::new(), vec![1, 2, 3]);
    let (mut filters, mut metas) = (FilterIndexBuilder::default(), Vec::new());
    for text in ["GET /login", "PUT /room"] {
        let start = out.len();
        let encoded = encoder.encode(&rows(text), &mut dict, &mut out).unwrap();
        filters.push(encoded.filter.clone());
        metas.push((start, encoded));
    }
    let (mut header, mut matrix) = (Vec::new(), Vec::new());
    finish(filters, &mut header, &mut matrix);
    let (index, matrix) = (FilterIndex::read(&header).unwrap(), Bytes::from(matrix));
    let (start, original) = &metas[1];
    assert_eq!(index.filters(&matrix).unwrap(), [metas[0].1.filter.clone(), original.filter.clone()]);

    let mut other = TemplateDict::new();
    for text in ["DELETE /device", "HEAD /user"] {
        encoder.encode(&rows(text), &mut other, &mut Vec::new()).unwrap();
    }
    let bytes = Bytes::from(out[*start..].to_vec());
    let original = Original { meta: &original.meta, dict: &dict, bytes };
    let mut copied = vec![0xAA; 5];
    let meta = encoder.copy(&original, &mut Renumbering::default(), &mut other, &mut copied).unwrap().unwrap();
    assert_ne!(meta.templates, original.meta.templates, "the other dictionary has other numbers");
    let copied = Bytes::from(copied).slice(5..);
    assert_eq!(meta.stored_bytes() as usize, copied.len());
    let mut back = Rows::default();
    BlockReader::new(&meta, &other, &copied).render(&RowSet::full(meta.rows as usize), Wanted::ALL, &mut back).unwrap();
    let want = rows("PUT /room");
    assert_eq!(back.bytes, want.bytes);
    assert_eq!(back.timestamps, want.timestamps);

    // No damage is copied.
    let mut untouched = vec![7];
    for at in 0..original.bytes.len() {
        let mut bytes = original.bytes.to_vec();
        bytes[at] ^= 1;
        let damaged = Original { bytes: Bytes::from(bytes), ..original };
        encoder.copy(&damaged, &mut Renumbering::default(), &mut other, &mut untouched).unwrap_err();
    }
    assert_eq!(untouched, [7]);
}

#[test]
fn flipped_filter_rows_are_noticed() {
    let mut filters = FilterIndexBuilder::default();
    for seed in 0..40_u64 {
        let lines = (0..300_u64)
            .map(|i| (1, format!("word{:x}", (seed * 300 + i).wrapping_mul(0xD6E8_FEB8_6659_FD93)).into_bytes(), 0));
        let rows = rows_of(&lines.collect::<Vec<_>>());
        let done = BlockEncoder::new(Level::Fresh, 3).encode(&rows, &mut TemplateDict::new(), &mut Vec::new()).unwrap();
        filters.push(done.filter);
    }
    let (mut header, mut matrix) = (Vec::new(), Vec::new());
    finish(filters, &mut header, &mut matrix);
    let index = FilterIndex::read(&header).unwrap();
    assert!(matrix.len() > 3 * 4096, "several checksums: {}", matrix.len());
    for at in (0..matrix.len()).step_by(997).chain([matrix.len() - 1]) {
        let mut flipped = matrix.clone();
        flipped[at] ^= 0x10;
        let flipped = Bytes::from(flipped);
        index.filters(&flipped).unwrap_err();
    }
}

/// Removes what the field test of `stages` drops, and checks that the pipeline drops it too. Returns how many rows are left.
#[track_caller]
fn check_fields(rows: &Rows, stages: &str) -> usize {
    let expr = parse_log_selector(&format!("{{a=\"b\"}} {stages}")).unwrap();
    let stream = StreamContext::new(Labels::from_pairs([("a", "b")]));
    let mut left = rows.len();
    for wanted in [WantedLabels::All, WantedLabels::None] {
        let pipeline = Pipeline::compile(&expr.stages, None, &wanted).unwrap();
        let mut dict = TemplateDict::new();
        let mut block = Vec::new();
        let encoded = BlockEncoder::new(Level::Settled, 3).encode(rows, &mut dict, &mut block).unwrap();
        let block = Bytes::from(block);
        let mut kept = RowSet::full(rows.len());
        let test = pipeline.field_test().unwrap();
        BlockReader::new(&encoded.meta, &dict, &block).select_fields(test, &mut kept).unwrap();
        let mut scratch = pipeline.scratch();
        for row in (0..rows.len()).filter(|&row| !kept.contains(row)) {
            let entry = Entry { timestamp_ns: rows.timestamps[row], line: rows.line(row), metadata: &[] };
            let line = String::from_utf8_lossy(rows.line(row)).into_owned();
            assert!(pipeline.run(&stream, &entry, &mut scratch).is_none(), "{stages} keeps {line}");
        }
        left = kept.count();
    }
    left
}

#[test]
fn lines_with_other_members_are_not_rebuilt() {
    let line = |i: u64| {
        let status = if i.is_multiple_of(50) { 500 + i % 7 } else { 200 + i % 3 };
        let level = ["info", "warn", "error"][i as usize % 3];
        format!(
            "{{\"time\":\"2026-11-22T15:39:{:02}+00:00\",\"id\":\"{:016x}\",\"uri\":\"/room/{i}/send\",\"level\":\"{level}\",\"status\":{status},\"took\":0.{i:03},\"peer\":{{\"port\":{}}}}}",
            i % 60,
            i.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            i % 65536,
        )
    };
    let lines: Vec<_> = (0..500_u64).map(|i| (1_000_000, line(i).into_bytes(), 0)).collect();
    let rows = rows_of(&lines);
    // Few are left beside the matches: ids that look like numbers make templates of their own.
    let check = |filter: &str, matches: usize| {
        let left = check_fields(&rows, &format!("| json | {filter}"));
        assert!((matches..=matches + 20).contains(&left), "{filter}: {left} left of {matches} that match");
    };
    check("status >= 500", 10);
    check("status = 201", 163);
    check(r#"level="error""#, 166);
    check("took < 0.01", 10);
    check("peer_port < 5", 5);
    check("nowhere > 1", 0);
    check(r#"nowhere="""#, 500);
}

/// What the member is called is what the label of the metadata is called: the member becomes another label.
#[test]
fn members_with_the_name_of_metadata_are_left_to_the_pipeline() {
    let lines: Vec<_> = (0..20_i64).map(|i| (i, format!("{{\"k0\":{i}}}").into_bytes(), (i % 2) as u8)).collect();
    let rows = rows_of(&lines);
    let (mut dict, mut block) = (TemplateDict::new(), Vec::new());
    let encoded = BlockEncoder::new(Level::Settled, 3).encode(&rows, &mut dict, &mut block).unwrap();
    let expr = parse_log_selector("{a=\"b\"} | json | k0 > 100").unwrap();
    let pipeline = Pipeline::compile(&expr.stages, None, &WantedLabels::All).unwrap();
    let mut kept = RowSet::full(rows.len());
    let block = Bytes::from(block);
    BlockReader::new(&encoded.meta, &dict, &block).select_fields(pipeline.field_test().unwrap(), &mut kept).unwrap();
    assert_eq!(kept.count(), 20);
}

fn json_line() -> impl Strategy<Value = Vec<u8>> {
    let scalar = prop_oneof![
        (0..700_u32).prop_map(|n| n.to_string()),
        (0..700_u32).prop_map(|n| format!("\"{n}\"")),
        (0..9_u32, 0..999_u32).prop_map(|(n, d)| format!("{n}.{d:03}")),
        "[a-z]{1,5}".prop_map(|word| format!("\"{word}\"")),
        "[a-z]{1,5}".prop_map(|word| word),
        "[a-z ]{0,3}[\\\\\"]{0,2}[a-z,:{}]{0,4}".prop_map(|text| format!("\"{text}\"")),
        "[x\u{FFFD}]{1,3}".prop_map(|text| format!("\"{text}\"")),
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("\"\"".to_owned()),
        Just("[1,\"x\"]".to_owned()),
    ];
    let key = prop_oneof![
        4 => Just("status".to_owned()),
        1 => Just("a".to_owned()),
        1 => Just("sta.tus".to_owned()),
        1 => Just("stat\\u0075s".to_owned()),
        1 => "[a-c]{1,2}[0-9]{0,2}",
        1 => Just(String::new()),
    ];
    let value = scalar.prop_recursive(2, 6, 3, |inner| {
        prop::collection::vec((prop_oneof![Just("status"), Just("b")], inner), 0..3).prop_map(|members| {
            let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        })
    });
    let members = prop::collection::vec((key, value), 0..4);
    (members, prop_oneof![9 => Just("}"), 1 => Just(""), 1 => Just("} tail 7"), 1 => Just(",}")]).prop_map(
        |(members, end)| {
            let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            format!("{{{}{end}", members.join(",")).into_bytes()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn field_tests_drop_what_the_pipeline_drops(
        lines in prop::collection::vec(prop_oneof![6 => json_line(), 1 => log_line()], 1..60),
        copies in 1..4_usize,
    ) {
        let lines: Vec<_> = lines.iter().flat_map(|line| vec![(1, line.clone(), 0); copies]).collect();
        let rows = rows_of(&lines);
        for filter in ["status >= 500", "status != 7", r#"status="x""#, r#"status!="x""#, r#"status=~"[x ]+""#, "a_status < 100", r#"b=~"x.*""#, r#"__error__="" | status < 300"#, r#"a="x" and status > 9"#] {
            check_fields(&rows, &format!("| json | {filter}"));
        }
    }
}

#[test]
fn lines_with_other_values_between_texts_are_not_rebuilt() {
    let line = |i: u64| {
        let user = ["synapse", "key_vault", "it took 9 ms"][i as usize % 3];
        let level = ["LOG", "WARN"][i as usize % 2];
        format!(
            "2026-11-22 15:20:{:02} UTC [{}] \"{user}\"@db {level}: took {}.{:03} ms in {i}",
            i % 60,
            i % 9000,
            i % 50,
            i
        )
    };
    let of_users = |users: &[u64]| -> Vec<_> {
        let lines = (0..600_u64).filter(|i| users.contains(&(i % 3)));
        lines.map(|i| (1_000_000, line(i).into_bytes(), 0)).collect()
    };
    let check = |users: &[u64], stages: &str, matches: usize, left: usize| {
        let rows = rows_of(&of_users(users));
        let found = check_fields(&rows, stages);
        assert!((matches..=left).contains(&found), "{stages}: {found} left of {matches} that match");
    };
    let took = r#"| regexp "took (?P<ms>[0-9.]+) ms""#;
    check(&[0, 1], &format!("{took} | ms >= 45"), 40, 60);
    check(&[0, 1], &format!("{took} | ms > 900"), 0, 20);
    check(&[0, 1], r#"| regexp "db (?P<level>[A-Z]+): " | level="WARN""#, 200, 220);
    check(&[0, 1], r#"| regexp "in (?P<row>\\d+)" | row < 9"#, 6, 30);
    // The user's name has the text in it, in front of the other one.
    check(&[0, 1, 2], &format!("{took} | ms = 9"), 208, 600);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn tests_between_texts_drop_what_the_pipeline_drops(
        shapes in prop::collection::vec(timed_lines(), 1..4),
    ) {
        let lines: Vec<_> = shapes.concat().into_iter().map(|line| (1, line, 0)).collect();
        let rows = rows_of(&lines);
        for stages in [
            r#"| regexp "took (?P<x>[0-9.]+) ms" | x > 20"#,
            r#"| regexp "took (?P<x>[0-9]+)" | x != 7"#,
            r#"| regexp "took (?P<x>\\S+) " | x="abc""#,
            r#"| regexp "took (?P<x>[^ ]*)" | x!="7""#,
            r#"| regexp "took (?P<x>[^ ]*)" | x!="a""#,
            r#"| regexp "took=\"(?P<x>[^\"]*)\"" | x=~"[0-9]+""#,
            r#"| regexp "ok (?P<x>\\d+(?:\\.\\d+)?)m" | x < 30"#,
        ] {
            check_fields(&rows, stages);
        }
    }
}

/// Lines of one shape: texts that are the same in all of them, among these one again and again, and values that are not.
fn timed_lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let text = |texts: &'static [&str]| prop::sample::select(texts).prop_map(|text| vec![text.as_bytes().to_vec()]);
    let values = |value: BoxedStrategy<Vec<u8>>| prop::collection::vec(value, 40);
    let word = prop_oneof![4 => "[a-c]{1,3}", 1 => Just("took".to_owned()), 1 => Just("to".to_owned())];
    let name =
        prop_oneof![4 => "[a-c]{1,3} [a-c]", 2 => (0..60).prop_map(|n| format!("it took {n} ms")), 1 => "[a-c] to"];
    let value = prop_oneof![
        3 => values((0..60_u32).prop_map(|n| n.to_string().into_bytes()).boxed()),
        3 => values((0..60_u32, 0..999_u32).prop_map(|(n, d)| format!("{n}.{d}").into_bytes()).boxed()),
        2 => values(word.prop_map(String::into_bytes).boxed()),
        3 => values(name.prop_map(|name| format!("\"{name}\"").into_bytes()).boxed()),
        1 => values(prop_oneof![Just("\u{FFFD}ß".into()), Just(b"a\xFF".to_vec()), Just(b"a".to_vec())].boxed()),
        2 => text(&["7", "30.5", "abc", ""]),
    ];
    let before = text(&["took ", "took ", "took ", "took ", "took=\"", "ok ", ": ", ""]);
    let behind = text(&[" ms ", " ms ", " ms", "ms", "\"", " ", ""]);
    prop::collection::vec((before, value, behind), 1..4).prop_map(|clauses| {
        let places: Vec<Vec<Vec<u8>>> = clauses.into_iter().flat_map(|(a, b, c)| [a, b, c]).collect();
        let line = |row: usize| places.iter().flat_map(|values| values[row % values.len()].clone()).collect();
        (0..40).map(line).collect()
    })
}
