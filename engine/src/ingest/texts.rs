//! The exact texts of refusals. Clients log them, people search for them: they are Loki's, word for word.

use std::fmt::Write as _;

use logstack_config::ByteSize;
use logstack_go::gotime::{GoTime, Zone};
use logstack_go::quote::Quoted;

use super::metrics::Reason;

/// Most distinct texts of one answer; the rest are counted.
const TEXTS_MAX: usize = 100;

/// Most errors of one answer that are told apart at all.
const ERRORS_MAX: usize = 1000;

/// Lines of a [`Wrapped`] answer.
const WRAPPED_LINES_MAX: usize = 10;

/// No streams in the request.
pub const NO_STREAMS: &str = "error at least one valid stream is required for ingestion";

/// A stream without labels where none is added.
pub const NO_LABELS: &str = "error at least one label pair is required per stream";

/// RFC 3339 to the second, UTC.
pub fn rfc3339(ns: i64) -> String {
    GoTime::from_unix_ns(ns, Zone::Utc).format("2006-01-02T15:04:05Z07:00")
}

/// Why one entry is refused. Displays need the stream's text, so they are made by [`EntryRefusal::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryRefusal {
    /// `reject_old_samples_max_age`.
    TooOld {
        /// Its time.
        timestamp_ns: i64,
        /// Oldest that is accepted.
        oldest_ns: i64,
    },
    /// `creation_grace_period`.
    TooNew {
        /// Its time.
        timestamp_ns: i64,
    },
    /// `max_line_size`.
    LineTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// `allow_structured_metadata`.
    MetadataDisallowed,
    /// `max_structured_metadata_size`.
    MetadataTooLarge {
        /// Names and values.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// `max_structured_metadata_entries_count`.
    MetadataTooMany {
        /// Pairs.
        count: usize,
        /// The limit.
        count_max: usize,
    },
    /// A name of which nothing is left once normalised. Loki answers 500 and loses the whole request.
    MetadataWithoutName,
}

impl EntryRefusal {
    /// The refusal of an entry of `stream`.
    pub fn text(&self, stream: &str) -> String {
        match *self {
            Self::TooOld { timestamp_ns, oldest_ns } => format!(
                "entry for stream '{stream}' has timestamp too old: {}, oldest acceptable timestamp is: {}",
                rfc3339(timestamp_ns),
                rfc3339(oldest_ns)
            ),
            Self::TooNew { timestamp_ns } => {
                format!("entry for stream '{stream}' has timestamp too new: {}", rfc3339(timestamp_ns))
            }
            Self::LineTooLong { bytes, bytes_max } => format!(
                "max entry size '{bytes_max}' bytes exceeded for stream '{stream}' while adding an entry with length \
                 '{bytes}' bytes"
            ),
            Self::MetadataDisallowed => format!(
                "stream '{stream}' includes structured metadata, but this feature is disallowed. Please see \
                 `limits_config.allow_structured_metadata` or contact your Loki administrator to enable it"
            ),
            Self::MetadataTooLarge { bytes, bytes_max } => format!(
                "stream '{stream}' has structured metadata too large: '{bytes}' bytes, limit: '{bytes_max}' bytes. \
                 Please see `limits_config.max_structured_metadata_size` or contact your Loki administrator to \
                 increase it"
            ),
            Self::MetadataTooMany { count, count_max } => format!(
                "stream '{stream}' has too many structured metadata labels: '{count}', limit: '{count_max}'. Please \
                 see `limits_config.max_structured_metadata_entries_count` or contact your Loki administrator to \
                 increase it"
            ),
            Self::MetadataWithoutName => format!(
                "stream '{stream}' has structured metadata with a name that holds no letter or digit: rename it"
            ),
        }
    }

    /// What it is counted as.
    pub fn reason(&self) -> Reason {
        match self {
            Self::TooOld { .. } => Reason::GreaterThanMaxSampleAge,
            Self::TooNew { .. } => Reason::TooFarInFuture,
            Self::LineTooLong { .. } => Reason::LineTooLong,
            Self::MetadataDisallowed => Reason::DisallowedStructuredMetadata,
            Self::MetadataTooLarge { .. } => Reason::StructuredMetadataTooLarge,
            Self::MetadataTooMany { .. } => Reason::StructuredMetadataTooMany,
            Self::MetadataWithoutName => Reason::InvalidLabels,
        }
    }
}

/// `max_label_names_per_series`.
pub fn too_many_labels(stream: &str, count: usize, count_max: usize) -> String {
    format!("entry for stream '{stream}' has {count} label names; limit {count_max}")
}

/// `max_label_name_length`.
pub fn label_name_too_long(stream: &str, name: &str) -> String {
    format!("stream '{stream}' has label name too long: '{name}'")
}

/// `max_label_value_length`.
pub fn label_value_too_long(stream: &str, value: &str) -> String {
    format!("stream '{stream}' has label value too long: '{value}'")
}

/// A label name twice.
pub fn duplicate_label(stream: &str, name: &str) -> String {
    format!("stream '{stream}' has duplicate label name: '{name}'")
}

/// `enforced_labels`.
pub fn missing_labels(missing: &[&str], tenant: &str, stream: &str, policy: &str) -> String {
    let missing = missing.join(",");
    format!("missing required labels '{missing}' for user '{tenant}' for stream '{stream}' (policy: '{policy}')")
}

/// `block_ingestion_until`.
pub fn blocked(tenant: &str, until_ns: i64, status: u16) -> String {
    format!("ingestion blocked for user '{tenant}' until '{}' with status code '{status}'", rfc3339(until_ns))
}

/// `block_ingestion_policy_until`.
pub fn blocked_policy(tenant: &str, policy: &str, until_ns: i64, status: u16) -> String {
    let until = rfc3339(until_ns);
    format!("ingestion blocked for user '{tenant}' (policy: '{policy}') until '{until}' with status code '{status}'")
}

/// `ingestion_rate_mb`.
pub fn rate_limited(tenant: &str, limit_bytes: f64, lines: usize, bytes: u64) -> String {
    format!(
        "ingestion rate limit exceeded for user {tenant} (limit: {} bytes/sec) while attempting to ingest '{lines}' \
         lines totaling '{bytes}' bytes, reduce log volume or contact your Loki administrator to see if the limit can \
         be increased",
        limit_bytes as i64
    )
}

/// `max_global_streams_per_user`.
pub fn too_many_streams(stream: &str, tenant: &str) -> String {
    format!(
        "maximum active stream limit exceeded when trying to create stream {stream}, reduce the number of active \
         streams (reduce labels or reduce label values), or contact your Loki administrator to see if the limit can be \
         increased, user: '{tenant}'"
    )
}

/// `per_stream_rate_limit`, within [`Wrapped`].
pub fn stream_rate_limited(stream: &str, limit: ByteSize, bytes: u64) -> String {
    format!(
        "Per stream rate limit exceeded (limit: {limit}/sec) while attempting to ingest for stream '{stream}' totaling \
         {}, consider splitting a stream via additional labels or contact your Loki administrator to see if the limit \
         can be increased",
        ByteSize(bytes)
    )
}

/// The window of a stream, within [`Wrapped`].
pub fn too_far_behind(timestamp_ns: i64, oldest_ns: i64) -> String {
    format!(
        "entry too far behind, entry timestamp is: {}, oldest acceptable timestamp is: {}",
        rfc3339(timestamp_ns),
        rfc3339(oldest_ns)
    )
}

/// `unordered_writes: false`, within [`Wrapped`].
pub const OUT_OF_ORDER: &str = "entry out of order";

/// Label text that is no label text. `reason` says where.
pub fn unparsable_labels(reason: impl std::fmt::Display) -> String {
    format!("couldn't parse labels: {reason}")
}

/// `name=value` of [`Quoted`] parts: how labels that are no identifiers get into the error of the label parser.
pub fn label_text<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = "{".to_owned();
    for (idx, (name, value)) in pairs.enumerate() {
        let comma = if idx > 0 { ", " } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{name}={}", Quoted(value));
    }
    text.push('}');
    text
}

/// Validation errors of a request: equal texts once, with their number.
#[derive(Debug, Default)]
pub struct Grouped {
    texts: Vec<(String, usize)>,
    count: usize,
}

impl Grouped {
    /// Adds an error. Its text is not asked for once there are too many.
    pub fn add(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.count > ERRORS_MAX {
            return;
        }
        let text = text();
        match self.texts.iter().position(|(known, _)| *known == text) {
            Some(known) => self.texts[known].1 += 1,
            None if self.texts.len() < TEXTS_MAX => self.texts.push((text, 1)),
            None => {}
        }
    }

    /// The answer; `None` without errors.
    pub fn into_text(self) -> Option<String> {
        if self.count == 1 {
            return self.texts.into_iter().next().map(|(text, _)| text);
        }
        let told: usize = self.texts.iter().map(|(_, count)| count).sum();
        let mut parts: Vec<String> =
            self.texts.iter().map(|(text, count)| format!("{count} errors like: {text}")).collect();
        if told < self.count {
            parts.push(format!("and {} more errors", self.count - told));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Entries of one stream that storage rules refuse: a line each, then the total.
#[derive(Debug, Default)]
pub struct Wrapped {
    lines: String,
    /// Entries refused.
    pub count: usize,
}

impl Wrapped {
    /// Adds a refused entry.
    pub fn add(&mut self, timestamp_ns: i64, reason: impl FnOnce() -> String) {
        self.count += 1;
        if self.count <= WRAPPED_LINES_MAX {
            let time = GoTime::from_unix_ns(timestamp_ns, Zone::Utc).format("2006-01-02 15:04:05.999999999 -0700 MST");
            // Writing to a String cannot fail.
            let _ = writeln!(self.lines, "entry with timestamp {time} ignored, reason: '{}',", reason());
        }
    }

    /// The answer; `total` entries came for the stream.
    pub fn into_text(self, tenant: &str, total: usize, stream: &str) -> String {
        let Self { mut lines, count } = self;
        // Writing to a String cannot fail.
        let _ = write!(lines, "user '{tenant}', total ignored: {count} out of {total} for stream: {stream}");
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NS: i64 = 1_795_359_751_124_106_393;

    #[test]
    fn texts_are_lokis() {
        #[track_caller]
        fn check(refusal: EntryRefusal, want: &str) {
            assert_eq!(refusal.text("{a=\"b\"}"), want);
        }
        check(
            EntryRefusal::TooOld { timestamp_ns: 0, oldest_ns: NS },
            "entry for stream '{a=\"b\"}' has timestamp too old: 1970-01-01T00:00:00Z, oldest acceptable timestamp is: 2026-11-22T15:02:31Z",
        );
        check(
            EntryRefusal::TooNew { timestamp_ns: NS },
            "entry for stream '{a=\"b\"}' has timestamp too new: 2026-11-22T15:02:31Z",
        );
        check(
            EntryRefusal::LineTooLong { bytes: 11, bytes_max: 10 },
            "max entry size '10' bytes exceeded for stream '{a=\"b\"}' while adding an entry with length '11' bytes",
        );
        check(
            EntryRefusal::MetadataDisallowed,
            "stream '{a=\"b\"}' includes structured metadata, but this feature is disallowed. Please see `limits_config.allow_structured_metadata` or contact your Loki administrator to enable it",
        );
        check(
            EntryRefusal::MetadataTooLarge { bytes: 65538, bytes_max: 65536 },
            "stream '{a=\"b\"}' has structured metadata too large: '65538' bytes, limit: '65536' bytes. Please see `limits_config.max_structured_metadata_size` or contact your Loki administrator to increase it",
        );
        check(
            EntryRefusal::MetadataTooMany { count: 3, count_max: 2 },
            "stream '{a=\"b\"}' has too many structured metadata labels: '3', limit: '2'. Please see `limits_config.max_structured_metadata_entries_count` or contact your Loki administrator to increase it",
        );
        assert_eq!(
            missing_labels(&["app", "env"], "t", "{}", ""),
            "missing required labels 'app,env' for user 't' for stream '{}' (policy: '')"
        );
        assert_eq!(
            blocked("t", NS, 260),
            "ingestion blocked for user 't' until '2026-11-22T15:02:31Z' with status code '260'"
        );
        assert_eq!(
            rate_limited("t", 1_048_576.0, 5, 2_000_000),
            "ingestion rate limit exceeded for user t (limit: 1048576 bytes/sec) while attempting to ingest '5' lines totaling '2000000' bytes, reduce log volume or contact your Loki administrator to see if the limit can be increased"
        );
        assert_eq!(
            stream_rate_limited("{}", ByteSize(100), 90),
            "Per stream rate limit exceeded (limit: 100B/sec) while attempting to ingest for stream '{}' totaling 90B, consider splitting a stream via additional labels or contact your Loki administrator to see if the limit can be increased"
        );
    }

    #[test]
    fn groups_errors() {
        #[track_caller]
        fn check(texts: &[&str], want: Option<&str>) {
            let mut grouped = Grouped::default();
            texts.iter().for_each(|text| grouped.add(|| (*text).to_owned()));
            assert_eq!(grouped.into_text().as_deref(), want);
        }
        check(&[], None);
        check(&["a"], Some("a"));
        check(&["a", "a"], Some("2 errors like: a"));
        check(&["a", "b", "a"], Some("2 errors like: a; 1 errors like: b"));
        let many: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut grouped = Grouped::default();
        many.iter().for_each(|text| grouped.add(|| (*text).to_owned()));
        assert!(grouped.into_text().unwrap().ends_with("; 1 errors like: 99; and 4900 more errors"));
    }

    #[test]
    fn wraps_entries() {
        let mut wrapped = Wrapped::default();
        wrapped.add(NS, || too_far_behind(NS, NS + 1_000_000_000));
        wrapped.add(NS / 1_000_000_000 * 1_000_000_000, || OUT_OF_ORDER.to_owned());
        assert_eq!(
            wrapped.into_text("fake", 3, "{a=\"b\"}"),
            "entry with timestamp 2026-11-22 15:02:31.124106393 +0000 UTC ignored, reason: 'entry too far behind, entry timestamp is: 2026-11-22T15:02:31Z, oldest acceptable timestamp is: 2026-11-22T15:02:32Z',\n\
             entry with timestamp 2026-11-22 15:02:31 +0000 UTC ignored, reason: 'entry out of order',\n\
             user 'fake', total ignored: 2 out of 3 for stream: {a=\"b\"}"
        );
        let mut wrapped = Wrapped::default();
        (0..15).for_each(|n| wrapped.add(n, || OUT_OF_ORDER.to_owned()));
        let text = wrapped.into_text("fake", 15, "{}");
        assert_eq!(text.lines().count(), 11);
        assert!(text.ends_with("user 'fake', total ignored: 15 out of 15 for stream: {}"));
    }
}
