//! Syslog messages: RFC 5424, and RFC 3164 as programs really write it.
//!
//! ```text
//! 5424: <PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA [MSG]      `-` is "none"
//! 3164: <PRI>Mmm dd hh:mm:ss HOSTNAME TAG[PID]: CONTENT
//! ```

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A parsed message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message<'a> {
    /// 0 to 23.
    pub facility: u8,
    /// 0 to 7.
    pub severity: u8,
    /// ns since the epoch.
    pub timestamp_ns: Option<i64>,
    /// Who wrote it.
    pub hostname: Option<&'a str>,
    /// Program, or the tag.
    pub app_name: Option<&'a str>,
    /// Process.
    pub proc_id: Option<&'a str>,
    /// Kind of message.
    pub msg_id: Option<&'a str>,
    /// (element, parameter, value), as they come.
    pub structured_data: Vec<(&'a str, &'a str, String)>,
    /// The text; `None` when there is no such part.
    pub text: Option<&'a [u8]>,
}

const SEVERITIES: [&str; 8] =
    ["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"];
const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];

impl Message<'_> {
    /// In words.
    pub fn severity_name(&self) -> &'static str {
        SEVERITIES[usize::from(self.severity & 7)]
    }

    /// In words.
    pub fn facility_name(&self) -> &'static str {
        FACILITIES.get(usize::from(self.facility)).copied().unwrap_or("unknown")
    }
}

/// Reads an RFC 5424 message; `None` when it is none.
pub fn parse_rfc5424(bytes: &[u8]) -> Option<Message<'_>> {
    let (priority, rest) = priority(bytes)?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=3).contains(&digits) || rest[0] == b'0' {
        return None;
    }
    let mut rest = rest[digits..].strip_prefix(b" ")?;
    let timestamp = field(&mut rest)?;
    let timestamp_ns = match timestamp {
        None => None,
        Some(text) => Some(parse_rfc3339(text)?),
    };
    let hostname = field(&mut rest)?;
    let app_name = field(&mut rest)?;
    let proc_id = field(&mut rest)?;
    let msg_id = field(&mut rest)?;
    let (structured_data, rest) = structured_data(rest)?;
    let text = match rest {
        [] => None,
        [b' ', text @ ..] => Some(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)),
        _ => return None,
    };
    let (facility, severity) = (priority / 8, priority % 8);
    Some(Message { facility, severity, timestamp_ns, hostname, app_name, proc_id, msg_id, structured_data, text })
}

/// Reads an RFC 3164 message. Its time has no year: that of `now_ns`, or of a neighbour around New Year.
pub fn parse_rfc3164(bytes: &[u8], now_ns: i64) -> Option<Message<'_>> {
    let (priority, rest) = priority(bytes)?;
    let mut message = Message { facility: priority / 8, severity: priority % 8, ..Message::default() };
    let Some((timestamp_ns, rest)) = bsd_time(rest, now_ns) else {
        // Without a time nothing can be told apart.
        message.text = Some(rest);
        return Some(message);
    };
    message.timestamp_ns = Some(timestamp_ns);
    let mut rest = rest;
    let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    message.hostname = text(&rest[..end]).filter(|name| !name.is_empty());
    rest = rest.get(end + 1..).unwrap_or_default();
    // The tag ends at the first character that cannot be part of it.
    let is_tag = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    let tag_len = rest.iter().take_while(|b| is_tag(b)).count();
    let after = &rest[tag_len..];
    if let Some(inner) = after.strip_prefix(b"[")
        && let Some(close) = memchr::memchr(b']', inner)
        && inner.get(close + 1) == Some(&b':')
    {
        message.app_name = text(&rest[..tag_len]).filter(|tag| !tag.is_empty());
        message.proc_id = text(&inner[..close]);
        rest = &inner[close + 2..];
    } else if tag_len > 0 && after.first() == Some(&b':') {
        message.app_name = text(&rest[..tag_len]);
        rest = &after[1..];
    }
    message.text = Some(rest.strip_prefix(b" ").unwrap_or(rest));
    Some(message)
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// `<0>` to `<191>`.
fn priority(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let rest = bytes.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|b| *b == b'>')?;
    let digits = &rest[..end];
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let priority: u8 = text(digits)?.parse().ok()?;
    (priority < 192).then_some((priority, &rest[end + 1..]))
}

/// The word before the next space; `-` is no value.
fn field<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a str>> {
    let end = memchr::memchr(b' ', rest)?;
    let word = text(&rest[..end]).filter(|word| !word.is_empty())?;
    *rest = &rest[end + 1..];
    Some((word != "-").then_some(word))
}

fn parse_rfc3339(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

type StructuredData<'a> = Vec<(&'a str, &'a str, String)>;

fn structured_data(bytes: &[u8]) -> Option<(StructuredData<'_>, &[u8])> {
    if let Some(rest) = bytes.strip_prefix(b"-") {
        return Some((Vec::new(), rest));
    }
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(inner) = rest.strip_prefix(b"[") {
        let end = inner.iter().position(|b| matches!(b, b' ' | b']'))?;
        let element = text(&inner[..end]).filter(|id| !id.is_empty())?;
        rest = &inner[end..];
        loop {
            let trimmed = rest.iter().take_while(|b| **b == b' ').count();
            rest = &rest[trimmed..];
            if let Some(after) = rest.strip_prefix(b"]") {
                rest = after;
                break;
            }
            let equals = memchr::memchr(b'=', rest)?;
            let name = text(&rest[..equals]).filter(|name| !name.is_empty())?;
            rest = rest[equals + 1..].strip_prefix(b"\"")?;
            let mut value = Vec::new();
            loop {
                match rest {
                    [b'\\', escaped @ (b'"' | b'\\' | b']'), after @ ..] => {
                        value.push(*escaped);
                        rest = after;
                    }
                    [b'"', after @ ..] => {
                        rest = after;
                        break;
                    }
                    [byte, after @ ..] => {
                        value.push(*byte);
                        rest = after;
                    }
                    [] => return None,
                }
            }
            found.push((element, name, String::from_utf8_lossy(&value).into_owned()));
        }
    }
    (!found.is_empty() || rest.len() < bytes.len()).then_some((found, rest))
}

/// `Mmm dd hh:mm:ss ` or an RFC 3339 time, which newer programs write in its place.
fn bsd_time(bytes: &[u8], now_ns: i64) -> Option<(i64, &[u8])> {
    if let Some(end) = memchr::memchr(b' ', bytes)
        && let Some(time) = text(&bytes[..end]).and_then(parse_rfc3339)
    {
        return Some((time, &bytes[end + 1..]));
    }
    let (stamp, rest) = bytes.split_at_checked(16)?;
    let stamp = text(stamp)?.strip_suffix(' ')?;
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = MONTHS.find(stamp.get(..3)?).filter(|at| at % 3 == 0)? / 3 + 1;
    let day: i8 = stamp.get(4..6)?.trim_start().parse().ok()?;
    let clock: Vec<i8> = stamp.get(7..15)?.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hour, minute, second] = clock[..] else { return None };
    let now = jiff::Timestamp::from_nanosecond(i128::from(now_ns)).ok()?.to_zoned(TimeZone::UTC);
    let month = i8::try_from(month).ok()?;
    let year = match (month, now.month()) {
        (12, 1) => now.year() - 1,
        (1, 12) => now.year() + 1,
        _ => now.year(),
    };
    let time = DateTime::new(year, month, day, hour, minute, second.min(59), 0).ok()?;
    let time = time.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some((i64::try_from(time.as_nanosecond()).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-15T00:00:00Z
    const NOW_NS: i64 = 1_768_435_200_000_000_000;

    fn show(message: &Message<'_>) -> String {
        let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let mut parts = vec![
            message.facility_name().to_owned(),
            message.severity_name().to_owned(),
            message.timestamp_ns.map_or("-".to_owned(), |ns| (ns / 1_000_000).to_string()),
            or_dash(message.hostname),
            or_dash(message.app_name),
            or_dash(message.proc_id),
            or_dash(message.msg_id),
        ];
        parts.extend(message.structured_data.iter().map(|(id, name, value)| format!("[{id} {name}={value}]")));
        parts.push(message.text.map_or("(none)".to_owned(), |text| String::from_utf8_lossy(text).into_owned()));
        parts.join("|")
    }

    #[test]
    fn parses_rfc5424() {
        #[track_caller]
        fn check(text: &str, want: Option<&str>) {
            assert_eq!(parse_rfc5424(text.as_bytes()).map(|message| show(&message)).as_deref(), want, "{text:?}");
        }
        check(
            "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - 'su root' failed",
            Some("auth|critical|1065910455003|mymachine.example.com|su|-|ID47|'su root' failed"),
        );
        check(
            "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time",
            Some("local4|notice|1061727255000|192.0.2.1|myproc|8710|-|%% It's time"),
        );
        check(
            r#"<165>1 - h app - ID47 [ex@32473 iut="3" src="A \"q\" \\ \]"][b@1 c="d"] m"#,
            Some(r#"local4|notice|-|h|app|-|ID47|[ex@32473 iut=3]|[ex@32473 src=A "q" \ ]]|[b@1 c=d]|m"#),
        );
        check("<165>1 - - - - - [id@1]", Some("local4|notice|-|-|-|-|-|(none)"));
        check("<165>1 - - - - - -", Some("local4|notice|-|-|-|-|-|(none)"));
        check("<165>1 - - - - - - \u{feff}bom", Some("local4|notice|-|-|-|-|-|bom"));
        check("<192>1 - - - - - - x", None);
        check("<1>0 - - - - - - x", None);
        check("<1>1 yesterday - - - - - x", None);
        check(r#"<1>1 - - - - - [a b="c x"#, None);
        check("<1>1 - - -", None);
        check("", None);
    }

    #[test]
    fn parses_rfc3164() {
        #[track_caller]
        fn check(text: &str, want: Option<&str>) {
            let message = parse_rfc3164(text.as_bytes(), NOW_NS);
            assert_eq!(message.map(|message| show(&message)).as_deref(), want, "{text:?}");
        }
        check(
            "<34>Jan 11 22:14:15 mymachine su[23]: 'su root' failed",
            Some("auth|critical|1768169655000|mymachine|su|23|-|'su root' failed"),
        );
        // A December that comes in January is last year's.
        check("<13>Dec 31 23:59:59 h app: x", Some("user|notice|1767225599000|h|app|-|-|x"));
        check("<13>Jan  5 00:00:00 h no tag here", Some("user|notice|1767571200000|h|-|-|-|no tag here"));
        check("<13>2026-01-05T00:00:00Z h app: x", Some("user|notice|1767571200000|h|app|-|-|x"));
        check("<13>just text", Some("user|notice|-|-|-|-|-|just text"));
        check("no priority", None);
        check("<13>Jan 32 00:00:00 h x", Some("user|notice|-|-|-|-|-|Jan 32 00:00:00 h x"));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            let mut message = b"<13>1 - - - - - [".to_vec();
            message.extend(&bytes);
            let _ = (parse_rfc5424(&message), parse_rfc3164(&message, NOW_NS), parse_rfc5424(&bytes));
        }
    }
}
