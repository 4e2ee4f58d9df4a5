//! Instants, as RFC 3339.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::UnitError;

/// An instant: `2026-11-22T15:00:00Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Time(jiff::Timestamp);

impl Time {
    /// Nanoseconds since the epoch, saturating at the ends of `i64`.
    pub fn as_nanos(self) -> i64 {
        let ns = self.0.as_nanosecond();
        i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
    }
}

impl FromStr for Time {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        text.parse().map(Self).map_err(|_| {
            UnitError::new(format!("{text:?} is not a time"), "write RFC 3339, as in 2026-11-22T15:00:00Z")
        })
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl schemars::JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_rfc3339() {
        let time: Time = "2026-11-22T15:00:00+01:00".parse().unwrap();
        assert_eq!((time.as_nanos(), time.to_string()), (1_795_356_000_000_000_000, "2026-11-22T14:00:00Z".to_owned()));
        assert_eq!(
            "yesterday".parse::<Time>().unwrap_err().to_string(),
            "\"yesterday\" is not a time (hint: write RFC 3339, as in 2026-11-22T15:00:00Z)"
        );
    }
}
