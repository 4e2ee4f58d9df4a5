//! Blocks come back as they went in, whatever the lines are; the naive scan is the oracle of every search.

use bytes::Bytes;
use proptest::prelude::*;

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
    let encoded = BlockEncoder::new(level).encode(rows, &mut dict, &mut block).unwrap();
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
        (1..40_usize, 0..4_u32).prop_map(|(n, d)| format!("values {} end", vec![format!("{d}.{d}.{d}"); n].join(", "))),
        Just(String::new()),
        "\\PC{0,40}",
    ];
    (text, prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()))).prop_map(|(text, change)| {
        let mut line = text.into_bytes();
        if let Some((at, byte)) = change {
            if !line.is_empty() {
                let at = at.index(line.len());
                line[at] = byte;
            }
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
