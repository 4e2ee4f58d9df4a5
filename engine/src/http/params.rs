//! Parameters of read requests: URL and form, instants, durations, limits.
//!
//! Source: contract http-api.md, 1.1 and 1.4; logql.md, 11.1.

use axum::body::Bytes;
use http::{HeaderMap, Uri, header};
use logstack_go::units::{parse_atoi, parse_float, parse_int, parse_prometheus_duration, parse_rfc3339_nano};

use crate::query::{Direction, Error};

const SECOND_NS: i64 = 1_000_000_000;
/// `since` where a request says nothing.
const SINCE_DEFAULT_NS: i64 = 3600 * SECOND_NS;
/// Entries that a log query returns where it says nothing.
const LIMIT_DEFAULT: usize = 100;
/// Most steps of a query.
const STEPS_MAX: i64 = 11_000;

/// The parameters of a request, repeated keys in order: those of the body first, as Go's `Request.Form` has them.
#[derive(Debug, Default)]
pub struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// Reads the query string, and `body` if it is a form.
    pub fn read(uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Self {
        let mut pairs = Vec::new();
        let is_form = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.split(';').next().unwrap_or_default().trim() == FORM);
        if is_form {
            decode(body, &mut pairs);
        }
        decode(uri.query().unwrap_or_default().as_bytes(), &mut pairs);
        Self { pairs }
    }

    /// The first value of `name`; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.pairs.iter().find(|(key, _)| key == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// All values of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// An instant in ns.
    ///
    /// # Errors
    /// The text names the parameter.
    pub fn instant(&self, name: &str) -> Result<Option<i64>, Error> {
        let Some(text) = self.get(name) else { return Ok(None) };
        parse_instant(text)
            .map(Some)
            .map_err(|reason| Error::refused(format!("could not parse '{name}' parameter: {reason}")))
    }

    /// `start` and `end` with their defaults, end exclusive for logs.
    ///
    /// # Errors
    /// When one cannot be read, or the end lies before the start.
    pub fn bounds(&self, now_ns: i64) -> Result<Bounds, Error> {
        let bounds = self.bounds_unchecked(now_ns)?;
        if bounds.end_ns < bounds.start_ns {
            return Err(Error::refused("end timestamp must not be before or equal to start time"));
        }
        Ok(bounds)
    }

    /// As [`Self::bounds`], without a look at their order.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn bounds_unchecked(&self, now_ns: i64) -> Result<Bounds, Error> {
        let since_ns = match self.get("since") {
            Some(text) => parse_prometheus_duration(text)
                .map_err(|reason| Error::refused(format!("could not parse 'since' parameter: {reason}")))?,
            None => SINCE_DEFAULT_NS,
        };
        let end_ns = self.instant("end")?.unwrap_or(now_ns);
        let start_ns = self.instant("start")?.unwrap_or_else(|| end_ns.min(now_ns).saturating_sub(since_ns));
        Ok(Bounds { start_ns, end_ns })
    }

    /// `limit`, of whatever is counted.
    ///
    /// # Errors
    /// When it is no number, or not positive.
    pub fn limit(&self) -> Result<usize, Error> {
        self.count("limit", LIMIT_DEFAULT)
    }

    /// A positive count.
    ///
    /// # Errors
    /// When it is no number, or not positive.
    pub fn count(&self, name: &str, default: usize) -> Result<usize, Error> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let number = parse_atoi(text).map_err(|error| Error::refused(error.to_string()))?;
        match usize::try_from(number) {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(Error::refused("limit must be a positive value")),
        }
    }

    /// `direction`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn direction(&self) -> Result<Direction, Error> {
        match self.get("direction") {
            None => Ok(Direction::Backward),
            Some(text) if text.eq_ignore_ascii_case("backward") => Ok(Direction::Backward),
            Some(text) if text.eq_ignore_ascii_case("forward") => Ok(Direction::Forward),
            Some(text) => Err(Error::refused(format!("invalid direction '{text}'"))),
        }
    }

    /// `step` in ns: what is given, or the 250th part of the range in whole seconds.
    ///
    /// # Errors
    /// When it cannot be read, is not positive, or makes too many steps.
    pub fn step(&self, bounds: Bounds) -> Result<i64, Error> {
        let range_ns = bounds.end_ns.saturating_sub(bounds.start_ns);
        let step_ns = match self.get("step") {
            Some(text) => parse_seconds(text)?,
            None => (range_ns / SECOND_NS / 250).max(1) * SECOND_NS,
        };
        if step_ns <= 0 {
            return Err(Error::refused(
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            ));
        }
        if range_ns / step_ns > STEPS_MAX {
            return Err(Error::refused(
                "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step \
                 parameter",
            ));
        }
        Ok(step_ns)
    }

    /// `interval` in ns; 0: every entry.
    ///
    /// # Errors
    /// When it cannot be read, or is negative.
    pub fn interval(&self) -> Result<i64, Error> {
        let Some(text) = self.get("interval") else { return Ok(0) };
        match parse_seconds(text)? {
            interval_ns if interval_ns < 0 => Err(Error::refused("interval must be >= 0")),
            interval_ns => Ok(interval_ns),
        }
    }
}

/// `start` and `end` of a request, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Included.
    pub start_ns: i64,
    /// Excluded for log queries, a point in time for metric queries.
    pub end_ns: i64,
}

const FORM: &str = "application/x-www-form-urlencoded";

/// Decodes `a=b&c=d`, percent signs and plus signs included. What is not UTF-8 becomes U+FFFD.
fn decode(text: &[u8], pairs: &mut Vec<(String, String)>) {
    for pair in text.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
        let mut parts = pair.splitn(2, |&byte| byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        pairs.push((unescape(name), unescape(value)));
    }
}

fn unescape(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => out.push(b' '),
            b'%' => match tail {
                [high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    out.push(hex(*high) << 4 | hex(*low));
                    rest = after;
                }
                _ => out.push(byte),
            },
            _ => out.push(byte),
        }
    }
    match String::from_utf8(out) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

fn hex(digit: u8) -> u8 {
    (digit as char).to_digit(16).unwrap_or(0) as u8
}

/// Float seconds (rounded to ms), seconds of up to ten digits, ns, or RFC 3339.
fn parse_instant(text: &str) -> Result<i64, String> {
    if text.contains('.')
        && let Ok(seconds) = parse_float(text)
        && seconds.abs() < 9.2e9
    {
        let millis = (seconds.fract() * 1000.0).round() as i64;
        return Ok(seconds.trunc() as i64 * SECOND_NS + millis * 1_000_000);
    }
    match parse_int(text) {
        Ok(number) if text.len() <= 10 => Ok(number.saturating_mul(SECOND_NS)),
        Ok(number) => Ok(number),
        Err(reason) => parse_rfc3339_nano(text).map_err(|_| reason.to_string()),
    }
}

/// Float seconds or a Prometheus duration.
fn parse_seconds(text: &str) -> Result<i64, Error> {
    let refuse = || Error::refused(format!("cannot parse {} to a valid duration", logstack_go::quote::Quoted(text)));
    if let Ok(seconds) = parse_float(text) {
        let ns = seconds * SECOND_NS as f64;
        // NaN fails the comparison.
        return if ns.abs() < i64::MAX as f64 { Ok(ns as i64) } else { Err(refuse()) };
    }
    parse_prometheus_duration(text).map_err(|_| refuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        let uri: Uri = format!("/x?{query}").parse().unwrap();
        Params::read(&uri, &HeaderMap::new(), &Bytes::new())
    }

    const NOW: i64 = 2_000_000_000 * SECOND_NS;

    #[test]
    fn reads_url_and_form() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8".parse().unwrap());
        let uri: Uri = "/x?query=url&a=%7Bb%3D%22c+d%22%7D&e=".parse().unwrap();
        let params = Params::read(&uri, &headers, &Bytes::from_static(b"query=form&bad=%zz&half=%e2%82"));
        assert_eq!(params.get("query"), Some("form"));
        assert_eq!(params.all("query").collect::<Vec<_>>(), ["form", "url"]);
        assert_eq!((params.get("a"), params.get("e"), params.get("f")), (Some("{b=\"c d\"}"), None, None));
        assert_eq!((params.get("bad"), params.get("half")), (Some("%zz"), Some("\u{fffd}")));
    }

    #[test]
    fn reads_instants() {
        #[track_caller]
        fn check(text: &str, want: Result<i64, &str>) {
            assert_eq!(parse_instant(text), want.map_err(str::to_owned), "{text}");
        }
        check("1768471200", Ok(1_768_471_200 * SECOND_NS));
        check("1768471200000", Ok(1_768_471_200_000));
        check("1768471200.5", Ok(1_768_471_200_500_000_000));
        check("1768474800.0019", Ok(1_768_474_800_002_000_000));
        check("4000000000", Ok(4_000_000_000 * SECOND_NS));
        check("2026-01-15T10:00:00.25Z", Ok(1_768_471_200_250_000_000));
        check("now-1h", Err("strconv.ParseInt: parsing \"now-1h\": invalid syntax"));
        check("2026-01-15 10:00:00", Err("strconv.ParseInt: parsing \"2026-01-15 10:00:00\": invalid syntax"));
    }

    #[test]
    fn bounds_have_defaults() {
        #[track_caller]
        fn check(query: &str, want: Result<(i64, i64), &str>) {
            let got = params(query).bounds(NOW).map(|b| (b.start_ns / SECOND_NS, b.end_ns / SECOND_NS));
            assert_eq!(got.map_err(|e| e.to_string()), want.map_err(str::to_owned), "{query}");
        }
        check("", Ok((1_999_996_400, 2_000_000_000)));
        check("since=2h", Ok((1_999_992_800, 2_000_000_000)));
        check("end=1000&since=1m", Ok((940, 1000)));
        check("end=3000000000", Ok((1_999_996_400, 3_000_000_000)));
        check("start=5&end=5", Ok((5, 5)));
        check("start=6&end=5", Err("end timestamp must not be before or equal to start time"));
        check("since=1.5h", Err("could not parse 'since' parameter: unknown unit \".\" in duration \"1.5h\""));
    }

    #[test]
    fn steps_are_bounded() {
        #[track_caller]
        fn check(query: &str, want: Result<i64, &str>) {
            let params = params(query);
            let got = params.bounds(NOW).and_then(|bounds| params.step(bounds)).map(|ns| ns / 1_000_000);
            assert_eq!(got.map_err(|e| e.to_string()), want.map_err(str::to_owned), "{query}");
        }
        check("start=0&end=1000", Ok(4000));
        check("start=0&end=10", Ok(1000));
        check("step=1500ms", Ok(1500));
        check("step=0.25", Err(TOO_MANY));
        check("start=0&end=11000&step=1", Ok(1000));
        check("start=0&end=11001&step=1", Err(TOO_MANY));
        check("step=-5", Err("zero or negative query resolution step widths are not accepted. Try a positive integer"));
        check("step=x", Err("cannot parse \"x\" to a valid duration"));
        check("step=NaN", Err("cannot parse \"NaN\" to a valid duration"));
    }

    const TOO_MANY: &str = "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of \
                            the step parameter";

    #[test]
    fn reads_the_rest() {
        assert_eq!(params("limit=").limit().unwrap(), 100);
        assert_eq!(params("limit=0").limit().unwrap_err().to_string(), "limit must be a positive value");
        assert_eq!(
            params("limit=abc").limit().unwrap_err().to_string(),
            "strconv.Atoi: parsing \"abc\": invalid syntax"
        );
        assert_eq!(params("direction=FORWARD").direction().unwrap(), Direction::Forward);
        assert_eq!(params("direction=up").direction().unwrap_err().to_string(), "invalid direction 'up'");
        assert_eq!(params("interval=-5").interval().unwrap_err().to_string(), "interval must be >= 0");
        assert_eq!(params("interval=15m30s").interval().unwrap(), 930 * SECOND_NS);
    }
}
