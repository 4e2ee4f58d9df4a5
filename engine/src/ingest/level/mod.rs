//! `detected_level`: which severity a line states. Runs for every line, so nothing here allocates.
//!
//! ```text
//! {"level":"warn", …}   json     member of a known name, two objects deep
//! ts=… lvl=warn         logfmt   key of a known name
//! WARN: disk is full    words    the first word that is a level, between bounds
//! ```
//!
//! What labels and structured metadata say comes before the line; that is for [`super::batch`], which has them.

mod json;
mod lanes;
mod logfmt;
mod names;
mod words;

pub use names::LevelNames;

/// A severity that is known by name. Others are kept as clients wrote them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// `trace`, `trc`
    Trace,
    /// `debug`, `dbg`
    Debug,
    /// `info`, `inf`, `information`
    Info,
    /// `warn`, `wrn`, `warning`
    Warn,
    /// `error`, `err`
    Error,
    /// `critical`
    Critical,
    /// `fatal`
    Fatal,
    /// Nothing was found.
    Unknown,
}

impl Level {
    /// All of them; `ALL[level as usize] == level`.
    pub const ALL: [Self; 8] =
        [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Critical, Self::Fatal, Self::Unknown];

    /// The value of `detected_level`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Fatal => "fatal",
            Self::Unknown => "unknown",
        }
    }

    /// The level that `word` names, in any letter case.
    pub fn parse(word: &[u8]) -> Option<Self> {
        const NAMES: [(&str, Level); 15] = [
            ("trace", Level::Trace),
            ("trc", Level::Trace),
            ("debug", Level::Debug),
            ("dbg", Level::Debug),
            ("info", Level::Info),
            ("inf", Level::Info),
            ("information", Level::Info),
            ("warn", Level::Warn),
            ("wrn", Level::Warn),
            ("warning", Level::Warn),
            ("error", Level::Error),
            ("err", Level::Error),
            ("critical", Level::Critical),
            ("fatal", Level::Fatal),
            ("unknown", Level::Unknown),
        ];
        NAMES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|&(_, level)| level)
    }

    /// The level of an OpenTelemetry severity number, as text. What is no number counts as info.
    ///
    /// Source: OpenTelemetry, "Logs Data Model", SeverityNumber.
    pub fn of_severity_number(text: &[u8]) -> Self {
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i32>().ok());
        match number {
            None => Self::Info,
            Some(1..=4) => Self::Trace,
            Some(5..=8) => Self::Debug,
            Some(9..=12) => Self::Info,
            Some(13..=16) => Self::Warn,
            Some(17..=20) => Self::Error,
            Some(21..=24) => Self::Fatal,
            Some(_) => Self::Unknown,
        }
    }

    /// What `line` says. `json_depth_max`: how many objects deep a JSON line is searched; 0 = no bound.
    pub fn of_line(line: &[u8], names: &LevelNames, json_depth_max: u32) -> Self {
        let trimmed = line.trim_ascii();
        let field = if trimmed.first() == Some(&b'{') && trimmed.last() == Some(&b'}') {
            json::find(trimmed, names, json_depth_max)
        } else if memchr::memchr(b'=', line).is_some() {
            logfmt::find(line, names)
        } else {
            None
        };
        match field.and_then(Self::parse) {
            // The word `unknown` is a level that nobody sends: the line may say more.
            Some(Self::Unknown) | None => words::find(line).unwrap_or(Self::Unknown),
            Some(level) => level,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> LevelNames {
        LevelNames::new(&logstack_config::Limits::default().log_level_fields)
    }

    #[test]
    fn reads_lines_as_loki_does() {
        #[track_caller]
        fn check(line: &str, want: &str) {
            assert_eq!(Level::of_line(line.as_bytes(), &names(), 2).as_str(), want, "{line:?}");
        }
        // Words and their bounds.
        check("[INFO] bracketed", "info");
        check("WARN: upper", "warn");
        check("warning lower", "warn");
        check("this is an Error inside", "error");
        check("ERR short", "error");
        check("FATAL crash", "fatal");
        check("critical thing", "critical");
        check("debug: x", "debug");
        check("TRACE y", "trace");
        check("INFO:root", "info");
        check("\"error\"", "error");
        check("(warn)", "warn");
        check("error!", "error");
        check("no error,but", "error");
        check("err=nil", "error");
        check("inform warn", "warn");
        check("INFO then ERROR", "info");
        check("ERROR then INFO", "error");
        check("a long line whose only level, far from its start, is its very last word: error", "error");
        for line in [
            "",
            " ",
            "no keyword",
            "information",
            "errors plural",
            "misc:error",
            "<error>",
            "error.",
            "'error'",
            "an_error",
            "x-error",
            "error-x",
            "dbg short",
            "inf short",
            "wrn short",
            "trc short",
            "notice",
            "panic: oh no",
            "E0115 10:00:00 klog",
            "<3>kernel err|",
        ] {
            check(line, "unknown");
        }
        check("<3>kernel err", "error");
        // logfmt: names in any case, the best name wins, up to the first fault.
        check("level=ERR", "error");
        check("lvl=eror", "unknown");
        check("severity=Information", "info");
        check("level=\"critical\"", "critical");
        check("level=notice", "unknown");
        check("time=x level=warn lvl=error", "warn");
        check("time=x lvl=debug level=warn", "warn");
        check("lvl=error foo level=dbg", "debug");
        check("LEVEL=debug", "debug");
        check("severity_text=WARN", "warn");
        check("loglevel=error", "error");
        check("a=b=c level=dbg", "unknown");
        check("msg=\"a \\\" level=trc\" level=dbg", "debug");
        check("msg=\"open level=dbg", "unknown");
        check("say \"x\" level=dbg", "unknown");
        check("level= severity=dbg", "unknown");
        check("=x level=dbg", "unknown");
        // JSON: exact names, strings, two objects deep.
        check("{\"level\":\"warn\"}", "warn");
        check("  {\"lvl\" : \"dbg\"} ", "debug");
        check("{\"severity\":\"CRITICAL\"}", "critical");
        check("{\"log.level\":\"trace\"}", "trace");
        check("{\"SeverityText\":\"WARN\"}", "warn");
        check("{\"level\":30}", "unknown");
        check("{\"lEvEl\":\"dbg\"}", "unknown");
        check("{\"msg\":\"error in body\"}", "error");
        check("{\"nested\":{\"level\":\"trc\"}}", "trace");
        check("{\"a\":{\"b\":{\"level\":\"trc\"}}}", "unknown");
        check("{\"a\":{\"b\":{\"level\":\"fatal\"}}}", "fatal");
        check("{\"a\":[{\"level\":\"trc\"}],\"level\":\"dbg\"}", "debug");
        check("{\"level\":\"weird\"}", "unknown");
        check("{\"level\":\"weird\",\"msg\":\"an error too\"}", "error");
        check("{\"Level\":\"Debug\",\"level\":\"info\"}", "debug");
        check("{\"a\":{\"x\":1,\"lvl\":\"dbg\"},\"level\":\"trc\"}", "debug");
        check("{\"x\":\"level\",\"y\":\"a\\\"}\",\"level\":\"dbg\"}", "debug");
        check("{\"x\":nope,\"level\":\"dbg\"}", "unknown");
        check("{\"level\":\"dbg\" broken}", "debug");
        check("{broken \"level\":\"dbg\"}", "unknown");
    }

    #[test]
    fn reads_severity_numbers() {
        #[track_caller]
        fn check(text: &str, want: Level) {
            assert_eq!(Level::of_severity_number(text.as_bytes()), want, "{text:?}");
        }
        check("0", Level::Unknown);
        check("1", Level::Trace);
        check("8", Level::Debug);
        check("9", Level::Info);
        check("16", Level::Warn);
        check("20", Level::Error);
        check("24", Level::Fatal);
        check("25", Level::Unknown);
        check("many", Level::Info);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_level(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            Level::of_line(&line, &names(), 2);
        }

        #[test]
        fn near_json_and_near_logfmt_have_a_level(line in "[{}\\[\\]\":,=\\\\ a-b]{0,20}(level|lvl)[{}\\[\\]\":,=\\\\ a-b]{0,20}") {
            Level::of_line(line.as_bytes(), &names(), 2);
            Level::of_line(format!("{{{line}}}").as_bytes(), &names(), 0);
        }
    }
}
