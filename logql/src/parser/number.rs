//! How long a number is, by the rules of Go source text, and what is wrong with it.
//!
//! Source: Go specification, "Integer literals" and "Floating-point literals"; messages of `text/scanner`.

/// The length of the number at the start of `text`, which begins with a digit or with a point and a digit.
///
/// # Errors
/// What Go's scanner says first about a malformed number.
pub(super) fn scan_number(text: &str) -> Result<usize, String> {
    let mut scanner =
        Scanner { bytes: text.as_bytes(), at: 0, digit_seen: false, separator_seen: false, invalid: None };
    let (base, literal) = scanner.prefix();
    let prefixed = scanner.at == 2;
    let mut is_float = false;
    if scanner.peek() != b'.' {
        scanner.digits(base);
    }
    if scanner.peek() == b'.' {
        if prefixed && base != 16 {
            return Err(format!("invalid radix point in {literal}"));
        }
        scanner.at += 1;
        is_float = true;
        scanner.digits(base);
    }
    if !scanner.digit_seen {
        // `0B` is no bytes at all; Go sees a binary literal that has no digits.
        if base == 2 && text.starts_with("0B") {
            return Ok(1);
        }
        return Err(format!("{literal} has no digits"));
    }
    let exponent = scanner.peek();
    match exponent.to_ascii_lowercase() {
        b'e' if prefixed => return Err(format!("{:?} exponent requires decimal mantissa", exponent as char)),
        b'p' if !(prefixed && base == 16) => {
            return Err(format!("{:?} exponent requires hexadecimal mantissa", exponent as char));
        }
        b'e' | b'p' => {
            is_float = true;
            scanner.at += 1;
            if matches!(scanner.peek(), b'+' | b'-') {
                scanner.at += 1;
            }
            scanner.digit_seen = false;
            scanner.digits(10);
            if !scanner.digit_seen {
                return Err("exponent has no digits".to_owned());
            }
        }
        _ if is_float && base == 16 => return Err("hexadecimal mantissa requires a 'p' exponent".to_owned()),
        _ => {}
    }
    if let (false, Some(digit)) = (is_float, scanner.invalid) {
        return Err(format!("invalid digit {:?} in {literal}", digit as char));
    }
    if scanner.separator_seen && !separators_ok(&text[..scanner.at]) {
        return Err("'_' must separate successive digits".to_owned());
    }
    Ok(scanner.at)
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    digit_seen: bool,
    separator_seen: bool,
    /// The first digit that is too large for its base.
    invalid: Option<u8>,
}

impl Scanner<'_> {
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn prefix(&mut self) -> (u32, &'static str) {
        if self.peek() != b'0' {
            return (10, "decimal literal");
        }
        match self.bytes.get(1).map(u8::to_ascii_lowercase) {
            Some(b'x') => {
                self.at = 2;
                (16, "hexadecimal literal")
            }
            Some(b'o') => {
                self.at = 2;
                (8, "octal literal")
            }
            Some(b'b') => {
                self.at = 2;
                (2, "binary literal")
            }
            // A leading zero: octal unless a point or an exponent follows.
            _ => (8, "octal literal"),
        }
    }

    fn digits(&mut self, base: u32) {
        loop {
            let c = self.peek();
            if c == b'_' {
                self.separator_seen = true;
            } else if c.is_ascii_digit() || (base == 16 && c.is_ascii_hexdigit()) {
                self.digit_seen = true;
                if base < 10 && u32::from(c - b'0') >= base && self.invalid.is_none() {
                    self.invalid = Some(c);
                }
            } else {
                return;
            }
            self.at += 1;
        }
    }
}

/// Each `_` stands between digits, or between the prefix and a digit.
fn separators_ok(number: &str) -> bool {
    let bytes = number.as_bytes();
    let prefixed = bytes.len() > 1 && bytes[0] == b'0' && bytes[1].is_ascii_alphabetic();
    let is_digit = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at))
            .is_some_and(|b| if prefixed { b.is_ascii_hexdigit() } else { b.is_ascii_digit() })
    };
    let between = |at: usize| (is_digit(at.checked_sub(1)) || (prefixed && at == 2)) && is_digit(Some(at + 1));
    bytes.iter().enumerate().all(|(at, b)| *b != b'_' || between(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_numbers_as_go_does() {
        #[track_caller]
        fn check(text: &str, want: Result<usize, &str>) {
            assert_eq!(scan_number(text), want.map_err(str::to_owned), "{text:?}");
        }
        for whole in
            ["0", "12", "1.5", ".5", "5.", "1e3", "1E+3", "1_000", "010", "0x1p4", "0x1F", "0b10", "08.5", "0o7"]
        {
            check(whole, Ok(whole.len()));
        }
        check("5m", Ok(1));
        check("0B", Ok(1));
        check("1.2.3", Ok(3));
        check("1PB", Err("'P' exponent requires hexadecimal mantissa"));
        check("0b1e2", Err("'e' exponent requires decimal mantissa"));
        check("1e", Err("exponent has no digits"));
        check("1EB", Err("exponent has no digits"));
        check("0x", Err("hexadecimal literal has no digits"));
        check("0x1.5", Err("hexadecimal mantissa requires a 'p' exponent"));
        check("0o1.5", Err("invalid radix point in octal literal"));
        check("08", Err("invalid digit '8' in octal literal"));
        check("0b2", Err("invalid digit '2' in binary literal"));
        check("1__0", Err("'_' must separate successive digits"));
        check("1_", Err("'_' must separate successive digits"));
    }
}
