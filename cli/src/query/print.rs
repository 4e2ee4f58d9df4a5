//! How `logstack query` shows an answer.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Output;
use super::client::{Answer, Entry, Labels, Series};

/// Labels that Loki and the engine add to every stream; columns of them only push the line aside.
const QUIET_LABELS: [&str; 2] = ["detected_level", "service_name"];
/// Widest label column; longer values are cut with an ellipsis.
const COLUMN_CHARS_MAX: usize = 32;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Prints answers in one form.
pub struct Printer {
    /// The form.
    pub output: Output,
    /// ANSI colours.
    pub colour: bool,
}

impl Printer {
    /// The whole answer as text.
    pub fn answer(&self, answer: &Answer) -> String {
        if !answer.is_log {
            return self.series(&answer.series);
        }
        match self.output {
            Output::Raw => answer.entries.iter().fold(String::new(), |text, entry| text + &entry.line + "\n"),
            Output::Jsonl => answer.entries.iter().fold(String::new(), |text, entry| text + &json(entry) + "\n"),
            Output::Pretty => self.columns(&answer.entries, &pretty_columns(&answer.entries)),
            Output::Table => self.columns(&answer.entries, &all_columns(&answer.entries)),
        }
    }

    /// One bar a point: how many entries there are over time.
    pub fn histogram(&self, counts: &Answer) -> String {
        let Some(series) = counts.series.first() else { return String::new() };
        let (Some(first), Some(last)) = (series.points.first(), series.points.last()) else { return String::new() };
        let total: f64 = series.points.iter().map(|(_, count)| count).sum();
        let bars = bars(&series.points.iter().map(|(_, count)| *count).collect::<Vec<_>>(), 80);
        format!("{} {bars} {}  {total} entries\n", clock(first.0), clock(last.0))
    }

    fn columns(&self, entries: &[Entry], names: &[&str]) -> String {
        let width = |name: &str| {
            let values = entries.iter().filter_map(|entry| entry.labels.get(name));
            values.map(|value| value.chars().count()).max().unwrap_or(0).clamp(1, COLUMN_CHARS_MAX)
        };
        let widths: Vec<usize> = names.iter().map(|name| width(name)).collect();
        let mut text = String::new();
        for entry in entries {
            let _ = write!(text, "{} ", self.dim(&local_time(entry.timestamp_ns)));
            for (name, width) in names.iter().zip(&widths) {
                let value = entry.labels.get(*name).map_or("", String::as_str);
                let _ = write!(text, "{} ", self.paint(hue(value), &fitted(value, *width)));
            }
            let _ = writeln!(text, "{}", self.paint(level_colour(&entry.labels), &entry.line));
        }
        text
    }

    fn series(&self, series: &[Series]) -> String {
        let mut text = String::new();
        let names: Vec<String> = series.iter().map(|one| label_text(&one.labels)).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        for (one, name) in series.iter().zip(&names) {
            let values: Vec<f64> = one.points.iter().map(|(_, value)| *value).collect();
            let Some(last) = values.last() else { continue };
            let _ = match self.output {
                Output::Raw => writeln!(text, "{last}"),
                Output::Jsonl => {
                    writeln!(text, "{}", serde_json::json!({ "labels": one.labels, "points": one.points }))
                }
                Output::Pretty | Output::Table if values.len() == 1 => writeln!(text, "{} {last}", fitted(name, width)),
                Output::Pretty | Output::Table => {
                    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    writeln!(
                        text,
                        "{} {} last {last} max {max}",
                        fitted(name, width),
                        self.paint(36, &bars(&values, 60))
                    )
                }
            };
        }
        text
    }

    fn paint(&self, code: u8, text: &str) -> String {
        if self.colour && code != 0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn dim(&self, text: &str) -> String {
        self.paint(2, text)
    }
}

/// Labels that differ between the entries: what all share would be the same column over and over.
fn pretty_columns(entries: &[Entry]) -> Vec<&str> {
    let mut values: BTreeMap<&str, (usize, bool, &str)> = BTreeMap::new();
    for (name, value) in entries.iter().flat_map(|entry| &entry.labels) {
        let (count, varies, first) = values.entry(name).or_insert((0, false, value));
        *count += 1;
        *varies |= first != value;
    }
    let differs = |(count, varies, _): &(usize, bool, &str)| *varies || *count < entries.len();
    let mut names: Vec<&str> = values.iter().filter(|(_, seen)| differs(seen)).map(|(name, _)| *name).collect();
    names.retain(|name| !QUIET_LABELS.contains(name));
    names
}

fn all_columns(entries: &[Entry]) -> Vec<&str> {
    let names: std::collections::BTreeSet<&str> =
        entries.iter().flat_map(|entry| entry.labels.keys().map(String::as_str)).collect();
    names.into_iter().collect()
}

fn json(entry: &Entry) -> String {
    let timestamp =
        Timestamp::from_nanosecond(i128::from(entry.timestamp_ns)).map(|t| t.to_string()).unwrap_or_default();
    serde_json::json!({ "timestamp": timestamp, "labels": entry.labels, "line": entry.line }).to_string()
}

fn label_text(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn local_time(ns: i64) -> String {
    match Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        Err(_) => ns.to_string(),
    }
}

fn clock(seconds: f64) -> String {
    match Timestamp::from_second(seconds as i64) {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime("%H:%M").to_string(),
        Err(_) => seconds.to_string(),
    }
}

/// `value` in exactly `width` characters.
fn fitted(value: &str, width: usize) -> String {
    if value.chars().count() <= width {
        return format!("{value:<width$}");
    }
    value.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// At most `width` bars; neighbours that share a bar are averaged.
fn bars(values: &[f64], width: usize) -> String {
    let per_bar = values.len().div_ceil(width).max(1);
    let heights: Vec<f64> = values
        .chunks(per_bar)
        .map(|chunk| chunk.iter().filter(|v| v.is_finite()).sum::<f64>() / chunk.len() as f64)
        .collect();
    let max = heights.iter().copied().fold(0.0, f64::max);
    let bar = |height: f64| {
        let share = if max > 0.0 { (height / max).clamp(0.0, 1.0) } else { 0.0 };
        BARS[((share * 7.0).round() as usize).min(7)]
    };
    heights.into_iter().map(bar).collect()
}

/// One of six colours, the same for the same value.
fn hue(value: &str) -> u8 {
    if value.is_empty() {
        return 0;
    }
    let sum = value.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    31 + (sum % 6) as u8
}

fn level_colour(labels: &Labels) -> u8 {
    match labels.get("detected_level").or(labels.get("level")).map(String::as_str) {
        Some("error" | "critical" | "fatal") => 31,
        Some("warn") => 33,
        Some("debug" | "trace") => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ns: i64, labels: &[(&str, &str)], line: &str) -> Entry {
        let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Entry { timestamp_ns: ns, labels, line: line.to_owned() }
    }

    #[test]
    fn shows_the_labels_that_differ_in_columns() {
        let entries = vec![
            entry(0, &[("app", "a"), ("pod", "p-1"), ("detected_level", "info")], "one"),
            entry(1, &[("app", "a"), ("pod", "p-10"), ("detected_level", "error")], "two"),
        ];
        assert_eq!(pretty_columns(&entries), ["pod"]);
        let answer = Answer { is_log: true, entries, ..Answer::default() };
        let text = Printer { output: Output::Pretty, colour: false }.answer(&answer);
        let lines: Vec<&str> =
            text.lines().map(|line| line.split_once(".000 ").map_or(line, |(_, rest)| rest)).collect();
        assert_eq!(lines, ["p-1  one", "p-10 two"]);
        assert_eq!(Printer { output: Output::Raw, colour: false }.answer(&answer), "one\ntwo\n");
        let coloured = Printer { output: Output::Pretty, colour: true }.answer(&answer);
        assert!(coloured.contains("\x1b[31mtwo"), "{coloured:?}");
    }

    #[test]
    fn draws_bars() {
        #[track_caller]
        fn check(values: &[f64], width: usize, want: &str) {
            assert_eq!(bars(values, width), want);
        }
        check(&[0.0, 7.0], 10, "▁█");
        check(&[0.0, 2.0, 6.0, 8.0], 2, "▂█");
        check(&[f64::NAN, 1.0], 10, "▁█");
        check(&[], 10, "");
    }

    #[test]
    fn prints_series_with_their_last_value() {
        let labels: Labels = [("app".to_owned(), "a".to_owned())].into();
        let answer = Answer { series: vec![Series { labels, points: vec![(1.0, 2.5)] }], ..Answer::default() };
        assert_eq!(Printer { output: Output::Pretty, colour: false }.answer(&answer), "{app=\"a\"} 2.5\n");
    }
}
