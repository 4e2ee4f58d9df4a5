//! What bytes variables can be made of: tells most often at once that a needle is not in one.

use super::clock::Format;
use super::token::Kind;

/// Sets of bytes that kinds of variables are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Charset {
    Letters,
    Digits,
    Dotted,
    Hex,
    Uuid,
    Time,
    TimeWithMonth,
    Id,
    Any,
}

pub(crate) const CHARSETS: usize = 9;

impl Charset {
    pub(crate) const ALL: [Self; CHARSETS] = [
        Self::Letters,
        Self::Digits,
        Self::Dotted,
        Self::Hex,
        Self::Uuid,
        Self::Time,
        Self::TimeWithMonth,
        Self::Id,
        Self::Any,
    ];

    /// What a variable of this kind can hold. `format` is a time's.
    pub(crate) fn of(kind: Kind, format: u8) -> Self {
        match kind {
            Kind::Word => Self::Letters,
            Kind::Number => Self::Digits,
            Kind::Decimal | Kind::Address => Self::Dotted,
            Kind::Hex => Self::Hex,
            Kind::Uuid => Self::Uuid,
            Kind::Time if Format::from_id(format).is_some_and(Format::has_month_name) => Self::TimeWithMonth,
            Kind::Time => Self::Time,
            Kind::Text => Self::Id,
            Kind::Phrase => Self::Any,
        }
    }

    /// True when values are in a vocabulary, so that one search of it finds a needle in all columns.
    pub(crate) fn is_of_strings(self) -> bool {
        Charsets::OF_STRINGS.has(self)
    }

    /// Where a run of its bytes that begins at `at` ends; `at` itself if there is none.
    pub(crate) fn run_end(self, bytes: &[u8], at: usize, ignore_case: bool) -> usize {
        // A month has three letters.
        let letters_max = if self == Self::TimeWithMonth { 3 } else { bytes.len() };
        let mut letters = 0;
        let ends_at = |&byte: &u8| {
            letters = if byte.is_ascii_alphabetic() { letters + 1 } else { 0 };
            letters > letters_max || !(self.has(byte) || ignore_case && self.has(byte.to_ascii_uppercase()))
        };
        bytes[at..].iter().position(ends_at).map_or(bytes.len(), |len| at + len)
    }

    fn has(self, byte: u8) -> bool {
        match self {
            Self::Letters => byte.is_ascii_alphabetic() || byte >= 0x80,
            Self::Digits => byte.is_ascii_digit(),
            Self::Dotted => byte.is_ascii_digit() || byte == b'.',
            Self::Hex => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            Self::Uuid => matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'),
            Self::Time => byte.is_ascii_digit() || b":-/., T".contains(&byte),
            Self::TimeWithMonth => {
                byte.is_ascii_digit() || b":-/., janfebmrpyulgsoctvd".contains(&byte.to_ascii_lowercase())
            }
            Self::Id => byte.is_ascii_alphanumeric() || byte >= 0x80 || b"_-=./+:".contains(&byte),
            Self::Any => true,
        }
    }
}

/// Several of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Charsets(u16);

impl Charsets {
    /// Those of kinds whose values are in a vocabulary.
    pub(crate) const OF_STRINGS: Self =
        Self(0).with(Charset::Letters).with(Charset::Hex).with(Charset::Uuid).with(Charset::Id).with(Charset::Any);

    pub(crate) const fn with(self, charset: Charset) -> Self {
        Self(self.0 | 1 << charset as u16)
    }

    pub(crate) fn has(self, charset: Charset) -> bool {
        self.0 >> charset as u16 & 1 == 1
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are in both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::MONTHS;
    use super::*;

    #[test]
    fn runs_end_where_a_value_must() {
        #[track_caller]
        fn check(charset: Charset, text: &str, ignore_case: bool, want: &str) {
            assert_eq!(&text[..charset.run_end(text.as_bytes(), 0, ignore_case)], want, "{charset:?} {text}");
        }
        check(Charset::Letters, "word1", false, "word");
        check(Charset::Hex, "beef-", false, "beef");
        check(Charset::Hex, "BEEF", false, "");
        check(Charset::Time, "2026-11-22T15", false, "2026-11-22T15");
        check(Charset::Time, "2026-11-22t15", true, "2026-11-22t15");
        check(Charset::TimeWithMonth, "22/Nov/2026:15", false, "22/Nov/2026:15");
        check(Charset::TimeWithMonth, "22/nov/2026:15", true, "22/nov/2026:15");
        for month in MONTHS {
            let month = str::from_utf8(month).unwrap();
            check(Charset::TimeWithMonth, month, false, month);
        }
        check(Charset::TimeWithMonth, "Wed", false, "");
        check(Charset::TimeWithMonth, "Marble", false, "Mar");
    }
}
