//! `cri`, `docker`, `container`: the formats of container runtimes, with partial lines joined.
//!
//! ```text
//! cri    := RFC3339Nano ' ' ("stdout" | "stderr") ' ' tags ' ' content      tags begin with P (partial) or F (full)
//! docker := {"log":"content\n","stream":"stdout","time":"RFC3339Nano"}      without \n: partial
//! ```
//!
//! A line of another form goes on unchanged, and is counted.
//!
//! Source: contract of the collector, section 4; Kubernetes CRI logging design; Docker, "JSON File logging driver".

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use logstack_config::collector::stage::CriStage;
use logstack_go::units::parse_rfc3339_nano;
use memchr::memchr;
use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::warn;

use super::Flow;
use super::json::Text;
use super::partial::{Joiner, Output};
use crate::pipeline::counters::{Counters, DropCounter};
use crate::pipeline::entry::{Entry, SourceId};
use crate::pipeline::extracted::Kind;
use crate::pipeline::{Context, Flush, Next};

/// Unreadable lines in a row before a hint is logged.
const MISSES_BEFORE_HINT: u32 = 10;
/// Sources whose format or last time is remembered.
const SOURCES_MAX: usize = 10_000;

/// Which format is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// containerd, CRI-O.
    Cri,
    /// Docker's json-file driver.
    Docker,
    /// Whichever a source's first line has.
    Auto,
}

/// The stage.
#[derive(Debug)]
pub struct Container {
    format: Format,
    /// Later stages look at what this one extracts.
    is_read: bool,
    joiner: Joiner,
    names: Names,
    /// Last good time of a source and output, for lines with a damaged one.
    last_times: HashMap<(SourceId, Option<Output>), i64>,
    detected: HashMap<SourceId, Format>,
    errors: DropCounter,
    misses: u32,
}

#[derive(Debug)]
struct Names {
    stream: Arc<str>,
    time: Arc<str>,
    flags: Arc<str>,
    content: Arc<str>,
    timestamp: Arc<str>,
    output: Arc<str>,
}

/// A line of the CRI format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CriLine<'a> {
    /// RFC 3339, not checked.
    pub time: &'a [u8],
    /// Where the container wrote it.
    pub output: Output,
    /// As written: `F`, `P`, `P:x`.
    pub tags: &'a [u8],
    /// The rest.
    pub content: &'a [u8],
}

impl CriLine<'_> {
    /// More of this line follows.
    pub fn is_partial(&self) -> bool {
        // Only the first tag decides.
        self.tags == b"P" || self.tags.starts_with(b"P:")
    }
}

/// Takes a line of the CRI format apart.
pub fn parse_cri(line: &[u8]) -> Option<CriLine<'_>> {
    let first = memchr(b' ', line).filter(|at| *at > 0)?;
    let (time, rest) = (&line[..first], &line[first + 1..]);
    let (output, rest) = match rest {
        [b's', b't', b'd', b'o', b'u', b't', b' ', rest @ ..] => (Output::Stdout, rest),
        [b's', b't', b'd', b'e', b'r', b'r', b' ', rest @ ..] => (Output::Stderr, rest),
        _ => return None,
    };
    let second = memchr(b' ', rest).filter(|at| *at > 0)?;
    Some(CriLine { time, output, tags: &rest[..second], content: &rest[second + 1..] })
}

/// A record of Docker's json-file driver.
#[derive(Debug, Deserialize)]
struct DockerLine<'a> {
    #[serde(borrow, default)]
    log: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default)]
    time: Option<&'a RawValue>,
}

/// A member's text: a string's content, anything else as it is written; none for null.
fn member(raw: Option<&RawValue>) -> Option<Cow<'_, str>> {
    let text = raw?.get();
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<Text<'_>>(text).ok().map(|text| text.0),
        Some(b'n') => None,
        _ => Some(Cow::Borrowed(text)),
    }
}

impl Output {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl Container {
    /// `cri` with its limits.
    pub fn cri(config: &CriStage, is_read: bool, counters: &Counters) -> Self {
        let cut = if config.max_partial_line_size_truncate { config.max_partial_line_size.as_usize() } else { 0 };
        let joiner = Joiner::new(config.max_partial_lines as usize, cut);
        Self { joiner, ..Self::new(Format::Cri, is_read, counters) }
    }

    /// With the limits of `cri`'s defaults.
    pub fn new(format: Format, is_read: bool, counters: &Counters) -> Self {
        let name = match format {
            Format::Cri => "cri",
            Format::Docker => "docker",
            Format::Auto => "container",
        };
        Self {
            format,
            is_read,
            joiner: Joiner::new(CriStage::default().max_partial_lines as usize, 0),
            names: Names {
                stream: "stream".into(),
                time: "time".into(),
                flags: "flags".into(),
                content: "content".into(),
                timestamp: "timestamp".into(),
                output: "output".into(),
            },
            last_times: HashMap::new(),
            detected: HashMap::new(),
            errors: counters.parse_errors(name),
            misses: 0,
        }
    }

    /// Runs the stage.
    pub fn run(&mut self, entry: &mut Entry, cx: &mut Context<'_>, next: &mut Next<'_>) -> Flow {
        if self.is_read {
            entry.extract_labels();
        }
        let format = match self.format {
            Format::Auto => self.detect(&entry.line, cx.source),
            format => format,
        };
        // The line's buffer goes back with the content at its start: no second buffer a line.
        let line = std::mem::take(&mut entry.line);
        let flow = match format {
            Format::Docker => self.run_docker(line, entry, cx, next),
            _ => self.run_cri(line, entry, cx, next),
        };
        match flow {
            Some(flow) => {
                self.misses = 0;
                flow
            }
            None => {
                self.missed();
                Flow::Next
            }
        }
    }

    /// See [`Joiner::keep_waiting`].
    pub fn keep_waiting(&mut self, source: SourceId, now: Instant) {
        self.joiner.keep_waiting(source, now);
    }

    /// Emits partial lines.
    pub fn flush(&mut self, what: Flush, cx: &mut Context<'_>, next: &mut Next<'_>) {
        if let Flush::Source(source) = what {
            self.detected.remove(&source);
            self.last_times.retain(|key, _| key.0 != source);
        }
        self.joiner.flush(what, cx, next);
    }

    fn run_cri(
        &mut self,
        mut line: Vec<u8>,
        entry: &mut Entry,
        cx: &mut Context<'_>,
        next: &mut Next<'_>,
    ) -> Option<Flow> {
        // A power loss leaves runs of NUL in front of what was written next.
        let nuls = line.iter().take_while(|byte| **byte == 0).count();
        if nuls > 0 {
            line.drain(..nuls);
        }
        let Some(parsed) = parse_cri(&line) else {
            entry.line = line;
            return None;
        };
        let (output, is_partial) = (parsed.output, parsed.is_partial());
        entry.labels.set(&self.names.stream, output.name());
        self.set_time(Some(std::str::from_utf8(parsed.time).unwrap_or_default()), Some(output), entry, cx);
        if self.is_read {
            entry.extracted.set_bytes(&self.names.time, parsed.time);
            entry.extracted.set(&self.names.stream, Kind::Text, output.name());
            entry.extracted.set_bytes(&self.names.flags, parsed.tags);
            entry.extracted.set_bytes(&self.names.content, parsed.content);
        }
        let content_start = line.len() - parsed.content.len();
        line.drain(..content_start);
        entry.line = line;
        Some(self.join(output, is_partial, entry, cx, next))
    }

    fn run_docker(
        &mut self,
        line: Vec<u8>,
        entry: &mut Entry,
        cx: &mut Context<'_>,
        next: &mut Next<'_>,
    ) -> Option<Flow> {
        let text = String::from_utf8_lossy(&line);
        let Ok(record) = serde_json::from_str::<DockerLine<'_>>(text.trim_start_matches('\0')) else {
            drop(text);
            entry.line = line;
            self.set_time(None, None, entry, cx);
            return None;
        };
        let (log, stream, time) = (member(record.log), member(record.stream), member(record.time));
        let known = match stream.as_deref() {
            Some("stderr") => Some(Output::Stderr),
            Some("stdout") => Some(Output::Stdout),
            _ => None,
        };
        if let Some(stream) = &stream {
            entry.labels.set(&self.names.stream, stream);
        }
        self.set_time(time.as_deref(), known, entry, cx);
        let content = log.as_deref().map(|log| log.strip_suffix('\n').unwrap_or(log));
        if self.is_read {
            let values = [
                (&self.names.output, content),
                (&self.names.stream, stream.as_deref()),
                (&self.names.timestamp, time.as_deref()),
            ];
            for (name, value) in values {
                match value {
                    Some(value) => entry.extracted.set(name, Kind::Text, value),
                    None => entry.extracted.set(name, Kind::Null, ""),
                }
            }
        }
        let (Some(content), Some(log)) = (content, &log) else {
            // JSON of something else: its time and stream count, the line stays.
            drop((log, stream, time));
            drop(text);
            entry.line = line;
            return Some(Flow::Next);
        };
        let is_partial = content.len() == log.len();
        entry.line.extend_from_slice(content.as_bytes());
        Some(self.join(known.unwrap_or(Output::Stdout), is_partial, entry, cx, next))
    }

    fn join(
        &mut self,
        output: Output,
        is_partial: bool,
        entry: &mut Entry,
        cx: &mut Context<'_>,
        next: &mut Next<'_>,
    ) -> Flow {
        if is_partial {
            return self.joiner.keep(output, entry, cx, next);
        }
        self.joiner.complete(output, entry, cx);
        Flow::Next
    }

    /// A damaged or missing time becomes one that keeps the order: just behind the last good one. Only a damaged one
    /// counts as an error.
    fn set_time(&mut self, text: Option<&str>, output: Option<Output>, entry: &mut Entry, cx: &Context<'_>) {
        let key = (cx.source, output);
        match text.map(parse_rfc3339_nano) {
            Some(Ok(timestamp_ns)) => entry.timestamp_ns = timestamp_ns,
            missing => {
                if missing.is_some() {
                    self.errors.count();
                }
                let Some(last) = self.last_times.get(&key) else { return };
                entry.timestamp_ns = last + 1;
            }
        }
        if self.last_times.len() >= SOURCES_MAX && !self.last_times.contains_key(&key) {
            self.last_times.clear();
        }
        self.last_times.insert(key, entry.timestamp_ns);
    }

    fn detect(&mut self, line: &[u8], source: SourceId) -> Format {
        if let Some(format) = self.detected.get(&source) {
            return *format;
        }
        let format = if line.trim_ascii_start().starts_with(b"{") { Format::Docker } else { Format::Cri };
        if self.detected.len() >= SOURCES_MAX {
            self.detected.clear();
        }
        self.detected.insert(source, format);
        format
    }

    fn missed(&mut self) {
        self.errors.count();
        self.misses = self.misses.saturating_add(1);
        if self.misses == MISSES_BEFORE_HINT {
            warn!(format = ?self.format, "lines do not have the runtime's format: use the stage `container: {{}}`, which tells cri from docker");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::{Scene, check};

    #[test]
    fn takes_cri_lines_apart() {
        #[track_caller]
        fn check(line: &str, want: Option<(&str, bool, &str)>) {
            let got = parse_cri(line.as_bytes());
            let got = got.map(|l| (l.output.name(), l.is_partial(), std::str::from_utf8(l.content).unwrap()));
            assert_eq!(got, want, "{line:?}");
        }
        check("2024-05-01T00:00:00Z stdout F GET /sync", Some(("stdout", false, "GET /sync")));
        check("2024-05-01T00:00:00Z stderr P GET /sy", Some(("stderr", true, "GET /sy")));
        check("2024-05-01T00:00:00Z stderr P:x GET /sy", Some(("stderr", true, "GET /sy")));
        check("2024-05-01T00:00:00Z stdout F ", Some(("stdout", false, "")));
        check("2024-05-01T00:00:00Z stdout F", None);
        check("2024-05-01T00:00:00Z stdin F hello", None); // the runtime has two streams
        check(" stdout F hello", None);
        check("", None);
    }

    #[test]
    fn reads_cri_and_leaves_the_rest() {
        check(
            "- cri: {}",
            &["2024-05-01T00:00:00.5Z stdout F GET /"],
            &["{stream=\"stdout\"} 1714521600500000000 GET /"],
        );
        check("- cri:", &["2024-05-01T02:00:00+02:00 stderr F é"], &["{stream=\"stderr\"} 1714521600000000000 é"]);
        check("- cri: {}", &["plain text"], &["{} 0 plain text"]);
        check(
            "- cri: {}",
            &["\0\0\u{0}2024-05-01T00:00:00Z stdout F x"],
            &["{stream=\"stdout\"} 1714521600000000000 x"],
        );
        check(
            "[{cri: {}}, {labels: {flags: , content: , time: }}]",
            &["1970-01-01T00:00:00Z stdout F x"],
            &["{content=\"x\", flags=\"F\", stream=\"stdout\", time=\"1970-01-01T00:00:00Z\"} 0 x"],
        );
        // A damaged time goes just behind the last good one.
        check(
            "- cri: {}",
            &["1970-01-01T00:00:01Z stdout F a", "19x stdout F b", "1970-01-01T00:00:02Z stdout F c"],
            &[
                "{stream=\"stdout\"} 1000000000 a",
                "{stream=\"stdout\"} 1000000001 b",
                "{stream=\"stdout\"} 2000000000 c",
            ],
        );
    }

    #[test]
    fn joins_partial_lines_by_stream() {
        check(
            "- cri: {}",
            &[
                "1970-01-01T00:00:01Z stdout P one ",
                "1970-01-01T00:00:02Z stderr F err",
                "1970-01-01T00:00:03Z stdout P two ",
                "1970-01-01T00:00:04Z stdout F three",
            ],
            &["{stream=\"stderr\"} 2000000000 err", "{stream=\"stdout\"} 4000000000 one two three"],
        );
        // A rune that was cut in two.
        let mut scene = Scene::new("- cri: {}");
        scene.run_bytes(b"1970-01-01T00:00:00Z stdout P \xc3");
        scene.run_bytes(b"1970-01-01T00:00:00Z stdout F \xa9");
        assert_eq!(scene.out, ["{stream=\"stdout\"} 0 é"]);
        check(
            "- cri: {max_partial_line_size: 4, max_partial_line_size_truncate: true}",
            &[
                "1970-01-01T00:00:00Z stdout P 123",
                "1970-01-01T00:00:00Z stdout F 456",
                "1970-01-01T00:00:00Z stdout F 123456",
            ],
            &["{stream=\"stdout\"} 0 1234", "{stream=\"stdout\"} 0 123456"],
        );
    }

    #[test]
    fn lets_go_of_the_oldest_piece_alone_when_there_are_too_many() {
        check(
            "- cri: {max_partial_lines: 1}",
            &[
                "1970-01-01T00:00:01Z stdout P a",
                "1970-01-01T00:00:02Z stderr P b",
                "1970-01-01T00:00:03Z stderr P c",
                "1970-01-01T00:00:04Z stderr F d",
            ],
            &["{stream=\"stdout\"} 1000000000 a", "{stream=\"stderr\"} 4000000000 bcd"],
        );
    }

    #[test]
    fn a_joined_line_has_a_limit() {
        let mut scene = Scene::new("- cri: {}");
        let piece = format!("1970-01-01T00:00:00Z stdout P {}", "x".repeat(1 << 20));
        (0..9).for_each(|_| scene.run(&piece));
        scene.run("1970-01-01T00:00:00Z stdout F end");
        scene.run("1970-01-01T00:00:00Z stdout F next");
        let lens: Vec<usize> = scene.out.iter().map(|line| line.rsplit(' ').next().unwrap_or_default().len()).collect();
        assert_eq!(lens, [8 << 20, "next".len()]);
    }

    #[test]
    fn lets_go_of_a_piece_that_gets_no_end() {
        let mut scene = Scene::new("- cri: {}");
        scene.run("1970-01-01T00:00:01Z stdout P last words");
        scene.pass(29);
        assert_eq!(scene.out, [""; 0]);
        scene.pass(2);
        assert_eq!(scene.out, ["{stream=\"stdout\"} 1000000000 last words"]);
        // While nobody may read, the end may be in the file already.
        scene.run("1970-01-01T00:00:01Z stdout P one, ");
        scene.pass_blocked(7200);
        scene.run("1970-01-01T00:00:02Z stdout F two");
        assert_eq!(scene.out[1..], ["{stream=\"stdout\"} 2000000000 one, two"]);
        scene.out.pop();
        scene.run("1970-01-01T00:00:01Z stdout P gone");
        scene.flush(Flush::Source(SourceId(1)));
        assert_eq!(scene.out.len(), 2);
    }

    #[test]
    fn takes_time_and_stream_from_json_that_is_not_dockers() {
        let (first, second) = (r#"{"time":"1970-01-01T00:00:01Z","msg":"a"}"#, r#"{"time":null,"msg":"b"}"#);
        let third = r#"{"stream":"stdout","x":1}"#;
        let mut scene = Scene::new("- docker: {}");
        [first, second, "plain", third, r#"{"time":1516134303}"#].iter().for_each(|line| scene.run(line));
        let want = [
            format!("{{}} 1000000000 {first}"),
            format!("{{}} 1000000001 {second}"),
            "{} 1000000002 plain".to_owned(),
            format!("{{stream=\"stdout\"}} 0 {third}"), // another stream has no last time yet
            "{} 1000000003 {\"time\":1516134303}".to_owned(),
        ];
        assert_eq!(scene.out, want);
        assert_eq!(scene.counters.parse_errors("docker").get(), 2, "the line that is no JSON, the time that is none");
    }

    #[test]
    fn reads_docker() {
        check(
            "- docker: {}",
            &[r#"{"log":"hello\n","stream":"stderr","time":"1970-01-01T00:00:01.5Z"}"#],
            &["{stream=\"stderr\"} 1500000000 hello"],
        );
        check(
            "- docker: {}",
            &[
                r#"{"log":"he","stream":"stdout","time":"1970-01-01T00:00:01Z"}"#,
                r#"{"log":"llo\n","stream":"stdout","time":"1970-01-01T00:00:02Z"}"#,
                "not json",
            ],
            &["{stream=\"stdout\"} 2000000000 hello", "{} 0 not json"],
        );
        check(
            "- container: {}",
            &[r#"{"log":"hello\n","stream":"stdout","time":"1970-01-01T00:00:00Z"}"#],
            &["{stream=\"stdout\"} 0 hello"],
        );
        check("- container: {}", &["1970-01-01T00:00:00Z stdout F {}"], &["{stream=\"stdout\"} 0 {}"]);
    }
}
