//! The level member of a JSON line.

use memchr::memchr2;

use super::LevelNames;
use super::lanes::any_key_end;

/// Objects in objects that are followed when no bound is configured.
const DEPTH_MAX: u32 = 64;

/// The first string member, depth first, whose name is one of `names`; its value as written, escapes included.
///
/// `line` starts with `{`. A fault ends the search; what was found before it stands. `depth_max` 0: no bound.
pub(super) fn find<'a>(line: &'a [u8], names: &LevelNames, depth_max: u32) -> Option<&'a [u8]> {
    // Most JSON lines have no such member at all; then no structure needs to be looked at.
    if !any_key_end(line, b'"', names, |at| ends_in_name(&line[..at], names)) {
        return None;
    }
    let depth_max = if depth_max == 0 { DEPTH_MAX } else { depth_max.min(DEPTH_MAX) };
    let mut scan = Scan { line, at: 0, names };
    match scan.object(depth_max) {
        Step::Found(value) => Some(value),
        Step::Done | Step::Fault => None,
    }
}

/// True when `text` ends in a quote and one of the names.
fn ends_in_name(text: &[u8], names: &LevelNames) -> bool {
    names.iter().any(|name| text.strip_suffix(name).is_some_and(|before| before.last() == Some(&b'"')))
}

enum Step<'a> {
    Found(&'a [u8]),
    Done,
    Fault,
}

struct Scan<'a, 'n> {
    line: &'a [u8],
    at: usize,
    names: &'n LevelNames,
}

impl<'a> Scan<'a, '_> {
    /// Reads the object at `at`, and objects within it down to `depth` levels.
    fn object(&mut self, depth: u32) -> Step<'a> {
        self.at += 1;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Step::Done;
        }
        loop {
            let Some(key) = self.string() else { return Step::Fault };
            if self.peek() != Some(b':') {
                return Step::Fault;
            }
            self.at += 1;
            match self.peek() {
                Some(b'"') => match self.string() {
                    Some(value) if self.names.contains(key) => return Step::Found(value),
                    Some(_) => {}
                    None => return Step::Fault,
                },
                Some(b'{') if depth > 1 => match self.object(depth - 1) {
                    Step::Done => {}
                    end => return end,
                },
                Some(b'{' | b'[') => {
                    if self.skip_nested().is_none() {
                        return Step::Fault;
                    }
                }
                Some(_) => {
                    if self.scalar().is_none() {
                        return Step::Fault;
                    }
                }
                None => return Step::Fault,
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Step::Done;
                }
                _ => return Step::Fault,
            }
        }
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        while self.line.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        self.line.get(self.at).copied()
    }

    /// The string at `at`, without its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        if self.peek() != Some(b'"') {
            return None;
        }
        let start = self.at + 1;
        let mut end = start;
        loop {
            end += memchr2(b'"', b'\\', self.line.get(end..)?)?;
            if self.line[end] == b'"' {
                self.at = end + 1;
                return Some(&self.line[start..end]);
            }
            end += 2;
        }
    }

    /// Passes over a number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Option<()> {
        let rest = &self.line[self.at..];
        let len = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace())?;
        let is_scalar = match &rest[..len] {
            b"true" | b"false" | b"null" => true,
            number => number.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-'),
        };
        self.at += len;
        is_scalar.then_some(())
    }

    /// Passes over an object or array by its brackets.
    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.line.get(self.at)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}
