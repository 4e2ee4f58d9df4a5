//! What a plain scalar means, by YAML 1.1 as Go programs read it.
//!
//! Source: go-yaml v2, `resolve.go`: the texts of null and the booleans, Go's integer prefixes, underscores.

use super::node::Scalar;

/// A scalar with its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Resolved<'a> {
    /// `~`, `null`, nothing.
    Null,
    /// `true`, `yes`, `on`, …
    Bool(bool),
    /// An integer that fits.
    Int(i64),
    /// A larger one.
    UInt(u64),
    /// Anything else that is a number.
    Float(f64),
    /// The rest, and everything in quotes.
    Text(&'a str),
}

impl Scalar {
    /// True for `~`, `null` and nothing at all.
    pub fn is_null(&self) -> bool {
        self.resolve() == Resolved::Null
    }

    /// The scalar's type and value.
    pub fn resolve(&self) -> Resolved<'_> {
        if !self.plain {
            return Resolved::Text(&self.text);
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Resolved::Null,
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Resolved::Bool(true),
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
                Resolved::Bool(false)
            }
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Resolved::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => Resolved::Float(f64::NEG_INFINITY),
            ".nan" | ".NaN" | ".NAN" => Resolved::Float(f64::NAN),
            text => number(text).unwrap_or(Resolved::Text(text)),
        }
    }
}

fn number(text: &str) -> Option<Resolved<'static>> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let clean: String = text.chars().filter(|&c| c != '_').collect();
    let negative = clean.starts_with('-');
    let digits = clean.trim_start_matches(['-', '+']);
    let radix = |prefixes: [&str; 2], radix| {
        let rest = prefixes.iter().find_map(|prefix| digits.strip_prefix(prefix))?;
        integer(rest, radix, negative)
    };
    let octal = || {
        let rest = digits.strip_prefix('0').filter(|rest| !rest.is_empty())?;
        integer(rest, 8, negative)
    };
    radix(["0x", "0X"], 16)
        .or_else(|| radix(["0b", "0B"], 2))
        .or_else(|| radix(["0o", "0O"], 8))
        .or_else(octal)
        .or_else(|| integer(digits, 10, negative))
        .or_else(|| {
            // Rust also reads `inf` and `1_0`, which YAML does not mean here.
            let looks_numeric = clean.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+'));
            let value = looks_numeric.then(|| clean.parse::<f64>().ok())??;
            Some(Resolved::Float(value))
        })
}

fn integer(digits: &str, radix: u32, negative: bool) -> Option<Resolved<'static>> {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    if negative {
        return i64::from_str_radix(&format!("-{digits}"), radix).ok().map(Resolved::Int);
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    Some(i64::try_from(value).map_or(Resolved::UInt(value), Resolved::Int))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_as_go_does() {
        #[track_caller]
        fn check(text: &str, want: Resolved<'_>) {
            assert_eq!(Scalar { text: text.to_owned(), plain: true }.resolve(), want, "{text:?}");
        }
        check("", Resolved::Null);
        check("~", Resolved::Null);
        check("yes", Resolved::Bool(true));
        check("Off", Resolved::Bool(false));
        check("truE", Resolved::Text("truE"));
        check("8080", Resolved::Int(8080));
        check("-1", Resolved::Int(-1));
        check("1_000", Resolved::Int(1000));
        check("0x1F", Resolved::Int(31));
        check("0644", Resolved::Int(0o644));
        check("0o644", Resolved::Int(0o644));
        check("09", Resolved::Int(9));
        check("0", Resolved::Int(0));
        check("18446744073709551615", Resolved::UInt(u64::MAX));
        check("1.5", Resolved::Float(1.5));
        check("1e6", Resolved::Float(1e6));
        check(".5", Resolved::Float(0.5));
        check("-.inf", Resolved::Float(f64::NEG_INFINITY));
        check("1.2.3", Resolved::Text("1.2.3"));
        check("10m", Resolved::Text("10m"));
        check("inf", Resolved::Text("inf"));
        check("-", Resolved::Text("-"));
        check("2024-01-01", Resolved::Text("2024-01-01"));
        check(".", Resolved::Text("."));
    }

    #[test]
    fn quotes_make_text() {
        assert_eq!(Scalar { text: "true".to_owned(), plain: false }.resolve(), Resolved::Text("true"));
    }
}
