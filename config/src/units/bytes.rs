//! Byte sizes in Loki's and Promtail's dialect: powers of 1024 whatever the suffix.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{UnitError, split_number};

/// Suffixes from large to small. Every spelling of a unit is the same power of 1024.
const UNITS: [(&str, u64); 6] =
    [("EB", 1 << 60), ("PB", 1 << 50), ("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)];

/// A number of bytes. Reads `1048576`, `256KB`, `64mb`, `1GiB`, `5M`; **KB is 1024**, as in Loki.
///
/// Prints the largest unit that divides it: `1536KB`, `3MB`, `0B`.
///
/// Source: contracts of `limits_config` (integer, optional suffix in any case, no fraction); Promtail's `bytesize`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// What the schema of a custom resource demands of a text.
    pub const PATTERN: &'static str = "^[0-9]+ ?([bB]|[kKmMgGtTpPeE][iI]?[bB]?)?$";

    /// Nothing; in most limits: no limit.
    pub const ZERO: Self = Self(0);

    /// So many times 1024 bytes.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// So many times 1024² bytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// So many times 1024³ bytes.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory; saturates where `usize` is smaller.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// True for zero bytes.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (digits, suffix) = split_number(text.trim(), false);
        let wrong =
            || UnitError::new(format!("{text:?} is not a size"), "write a whole number and a unit, as in 256KB");
        if digits.is_empty() {
            return Err(wrong());
        }
        let suffix = suffix.trim_start().to_ascii_uppercase();
        if suffix.starts_with('.') {
            return Err(UnitError::new(format!("{text:?} has a fraction"), "write 1536KB rather than 1.5MB"));
        }
        // `K`, `KB`, `KI` and `KIB` are one unit.
        let scale = match suffix.as_str() {
            "" | "B" => 1,
            other => {
                let letter = other.strip_suffix('B').unwrap_or(other);
                let letter = letter.strip_suffix('I').unwrap_or(letter);
                UNITS.iter().find(|(name, _)| name.strip_suffix('B') == Some(letter)).ok_or_else(wrong)?.1
            }
        };
        // Too large is as large as it gets: what a custom resource's schema admits must be readable.
        let count = digits.parse().unwrap_or(u64::MAX);
        Ok(Self(count.saturating_mul(scale)))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|&&(_, scale)| self.0 != 0 && self.0.is_multiple_of(scale)) {
            Some((name, scale)) => write!(f, "{}{name}", self.0 / scale),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 256KB")
            }

            fn visit_unit<E: de::Error>(self) -> Result<ByteSize, E> {
                Ok(ByteSize::ZERO)
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<ByteSize, E> {
                u64::try_from(value).map(ByteSize).map_err(|_| {
                    E::custom(UnitError::new(format!("{value} is negative"), "write 0 for \"no limit\", or a size"))
                })
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<ByteSize, E> {
                // `1e6`, and JSON writers that print whole numbers as floats.
                if value.fract() == 0.0 && (0.0..1e18).contains(&value) {
                    return Ok(ByteSize(value as u64));
                }
                Err(E::custom(UnitError::new(format!("{value} has a fraction"), "write whole bytes, as in 1536KB")))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl schemars::JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "x-kubernetes-int-or-string": true, "pattern": Self::PATTERN, "minimum": 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_sizes() {
        #[track_caller]
        fn check(text: &str, want: Result<u64, &str>) {
            let got = text.parse::<ByteSize>().map(ByteSize::bytes).map_err(|e| e.to_string());
            assert_eq!(got, want.map_err(str::to_owned), "{text:?}");
        }
        check("0", Ok(0));
        check("1048576", Ok(1 << 20));
        check("256KB", Ok(256 << 10));
        check("256kb", Ok(256 << 10));
        check("3 MB", Ok(3 << 20));
        check("1k", Ok(1024));
        check("4GiB", Ok(4 << 30));
        check("2Ti", Ok(2 << 40));
        check("7b", Ok(7));
        check("15EB", Ok(15 << 60));
        check("16EB", Ok(u64::MAX));
        check("1.5MB", Err("\"1.5MB\" has a fraction (hint: write 1536KB rather than 1.5MB)"));
        check("", Err("\"\" is not a size (hint: write a whole number and a unit, as in 256KB)"));
        check("MB", Err("\"MB\" is not a size (hint: write a whole number and a unit, as in 256KB)"));
        check("5 apples", Err("\"5 apples\" is not a size (hint: write a whole number and a unit, as in 256KB)"));
        check("-1", Err("\"-1\" is not a size (hint: write a whole number and a unit, as in 256KB)"));
    }

    #[test]
    fn prints_the_largest_exact_unit() {
        #[track_caller]
        fn check(bytes: u64, want: &str) {
            assert_eq!(ByteSize(bytes).to_string(), want);
        }
        check(0, "0B");
        check(1000, "1000B");
        check(1536 << 10, "1536KB");
        check(3 << 20, "3MB");
        check(150 << 30, "150GB");
    }

    proptest! {
        #[test]
        fn reads_what_it_prints(bytes: u64) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }

        #[test]
        fn survives_any_text(text in ".{0,12}") {
            let _ = text.parse::<ByteSize>();
        }
    }
}
