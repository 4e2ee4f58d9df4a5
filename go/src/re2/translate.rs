//! Reads a pattern in RE2 syntax and writes it in the syntax of Rust's `regex`.
//!
//! One pass with a stack of open groups. What both dialects share passes through; what Rust reads differently or not
//! at all is spelled out: ASCII classes, literal braces, `\Q…\E`, octal escapes, greediness under `(?U)`.

use std::fmt::Write as _;
use std::ops::Range;

use super::NESTING_MAX;
use super::class::{before, bracket_class, escape, perl_class, push_literal, unicode_class};
use super::error::{Error, Reason};

/// Largest repeat count, and largest product of nested counts.
const REPEAT_MAX: u64 = 1000;

/// The switches of `(?imsU)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// `i`: letters match in any case.
    pub fold_case: bool,
    /// `m`: `^` and `$` also match at line breaks.
    pub multi_line: bool,
    /// `s`: `.` also matches a newline.
    pub dot_newline: bool,
    /// `U`: `x*` is lazy and `x*?` greedy.
    pub swap_greed: bool,
}

impl Flags {
    /// The letters that lead from `self` to `to` in Rust: `i-s`, or nothing. `U` is resolved at each repetition.
    fn changes_to(self, to: Self) -> String {
        let pairs = [
            ('i', self.fold_case, to.fold_case),
            ('m', self.multi_line, to.multi_line),
            ('s', self.dot_newline, to.dot_newline),
        ];
        let mut text: String = pairs.iter().filter(|(_, old, new)| !old && *new).map(|p| p.0).collect();
        let off: String = pairs.iter().filter(|(_, old, new)| *old && !new).map(|p| p.0).collect();
        if !off.is_empty() {
            let _ = write!(text, "-{off}");
        }
        text
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// In the syntax of Rust's `regex`; its groups have no names.
    pub text: String,
    /// Names of the groups by index, as written; index 0 is the whole match.
    pub names: Vec<Option<String>>,
}

/// `pattern` in the syntax of Rust's `regex` (Unicode mode on, groups nameless).
///
/// # Errors
/// What is wrong with the pattern, in Go's words.
pub fn translate(pattern: &str) -> Result<String, Error> {
    Ok(translate_with(pattern, Flags::default())?.text)
}

/// As [`translate`], starting with `flags`; the caller puts the result into a group with these flags.
///
/// # Errors
/// What is wrong with the pattern, in Go's words.
pub fn translate_with(pattern: &str, flags: Flags) -> Result<Translated, Error> {
    let mut translator = Translator {
        pattern,
        out: String::with_capacity(pattern.len() + 16),
        flags,
        groups: Vec::new(),
        scope: Scope::default(),
        names: vec![None],
    };
    translator.run()?;
    Ok(Translated { text: translator.out, names: translator.names })
}

struct Translator<'a> {
    pattern: &'a str,
    out: String,
    flags: Flags,
    groups: Vec<Group>,
    scope: Scope,
    names: Vec<Option<String>>,
}

/// What an open group returns to when it closes.
struct Group {
    start: usize,
    flags: Flags,
    outer: Scope,
}

/// The inside of a group up to here.
#[derive(Default)]
struct Scope {
    /// What a repetition would apply to; none at the start and behind `|`.
    atom: Option<Atom>,
    /// The heaviest of the atoms before it.
    weight: u64,
}

/// The newest part of a concatenation.
struct Atom {
    /// Where it is in the output; flags may follow it there.
    span: Range<usize>,
    /// Product of the repeat counts inside.
    weight: u64,
    /// Ends in a repetition operator.
    repeated: bool,
}

impl Translator<'_> {
    fn run(&mut self) -> Result<(), Error> {
        let mut rest = self.pattern;
        // Where the repetition before this one began, if it stands directly before.
        let mut last_repeat: Option<&str> = None;
        while let Some(c) = rest.chars().next() {
            let mut repeat = None;
            rest = match c {
                '(' if rest.starts_with("(?") => self.perl_group(rest)?,
                '(' => {
                    self.names.push(None);
                    self.open("(")?;
                    &rest[1..]
                }
                ')' => {
                    self.close()?;
                    &rest[1..]
                }
                '|' => {
                    self.out.push('|');
                    self.settle();
                    &rest[1..]
                }
                '^' | '$' | '.' => {
                    self.atom(|out| out.push(c));
                    &rest[1..]
                }
                '[' => {
                    let start = self.out.len();
                    let after = bracket_class(rest, &mut self.out)?;
                    self.atom_since(start, 1);
                    after
                }
                '*' | '+' | '?' => {
                    repeat = Some(rest);
                    self.repeat(Repeat { op: &rest[..1], count: None }, rest, &rest[1..], last_repeat)?
                }
                '{' => match repeat_count(rest) {
                    Some((min, max, after)) => {
                        repeat = Some(rest);
                        let limit = REPEAT_MAX as i64;
                        if min < 0 || min > limit || max > limit || (max >= 0 && min > max) {
                            return Err(Error::new(Reason::InvalidRepeatSize, before(rest, after)));
                        }
                        let op = before(rest, after);
                        self.repeat(Repeat { op, count: Some((min, max)) }, rest, after, last_repeat)?
                    }
                    // Without a valid count a brace is a brace.
                    None => {
                        self.literal(c as u32);
                        &rest[1..]
                    }
                },
                '\\' => self.backslash(rest)?,
                c => {
                    self.literal(c as u32);
                    &rest[c.len_utf8()..]
                }
            };
            last_repeat = repeat;
        }
        if self.groups.is_empty() { Ok(()) } else { Err(Error::new(Reason::MissingParen, self.pattern)) }
    }

    fn atom(&mut self, write: impl FnOnce(&mut String)) {
        let start = self.out.len();
        write(&mut self.out);
        self.atom_since(start, 1);
    }

    fn atom_since(&mut self, start: usize, weight: u64) {
        self.settle();
        self.scope.atom = Some(Atom { span: start..self.out.len(), weight, repeated: false });
    }

    fn literal(&mut self, code: u32) {
        self.atom(|out| push_literal(out, code));
    }

    /// The newest atom is out of reach of repetitions.
    fn settle(&mut self) {
        if let Some(atom) = self.scope.atom.take() {
            self.scope.weight = self.scope.weight.max(atom.weight);
        }
    }

    fn open(&mut self, text: &str) -> Result<(), Error> {
        if self.groups.len() >= NESTING_MAX {
            return Err(Error::new(Reason::NestingDepth, self.pattern));
        }
        let outer = std::mem::take(&mut self.scope);
        self.groups.push(Group { start: self.out.len(), flags: self.flags, outer });
        self.out.push_str(text);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let Some(group) = self.groups.pop() else { return Err(Error::new(Reason::UnexpectedParen, self.pattern)) };
        self.settle();
        let inner = std::mem::replace(&mut self.scope, group.outer);
        self.flags = group.flags;
        self.out.push(')');
        self.atom_since(group.start, inner.weight.max(1));
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, `(?i)`, `(?i-s:`.
    fn perl_group<'a>(&mut self, text: &'a str) -> Result<&'a str, Error> {
        let name_start = if text.len() > 4 && text.starts_with("(?P<") {
            Some(4)
        } else if text.len() > 3 && text.starts_with("(?<") {
            Some(3)
        } else {
            None
        };
        if let Some(name_start) = name_start {
            let Some(end) = text.find('>') else { return Err(Error::new(Reason::InvalidNamedCapture, text)) };
            let name = &text[name_start..end];
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(Error::new(Reason::InvalidNamedCapture, &text[..=end]));
            }
            self.names.push(Some(name.to_owned()));
            self.open("(")?;
            return Ok(&text[end + 1..]);
        }
        let mut chars = text[2..].chars();
        let mut flags = self.flags;
        let mut on = true;
        let mut saw_flag = false;
        while let Some(c) = chars.next() {
            let flag = match c {
                'i' => &mut flags.fold_case,
                'm' => &mut flags.multi_line,
                's' => &mut flags.dot_newline,
                'U' => &mut flags.swap_greed,
                '-' if on => {
                    on = false;
                    saw_flag = false;
                    continue;
                }
                ':' | ')' if on || saw_flag => {
                    let changes = self.flags.changes_to(flags);
                    if c == ':' {
                        self.open(&format!("(?{changes}:"))?;
                    } else if !changes.is_empty() {
                        let _ = write!(self.out, "(?{changes})");
                    }
                    self.flags = flags;
                    return Ok(chars.as_str());
                }
                _ => break,
            };
            *flag = on;
            saw_flag = true;
        }
        Err(Error::new(Reason::InvalidPerlOp, before(text, chars.as_str())))
    }

    fn backslash<'a>(&mut self, text: &'a str) -> Result<&'a str, Error> {
        match text.as_bytes().get(1) {
            Some(b'A') => self.atom(|out| out.push_str(r"\A")),
            Some(b'z') => self.atom(|out| out.push_str(r"\z")),
            Some(b'b') => self.atom(|out| out.push_str(r"(?-u:\b)")),
            Some(b'B') => self.atom(|out| out.push_str(r"(?-u:\B)")),
            Some(b'C') => return Err(Error::new(Reason::InvalidEscape, &text[..2])),
            Some(b'Q') => {
                let quoted = &text[2..];
                let (literal, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
                for c in literal.chars() {
                    self.literal(c as u32);
                }
                return Ok(rest);
            }
            _ => {
                if let Some((class, rest)) = unicode_class(text)? {
                    self.atom(|out| out.push_str(&class));
                    return Ok(rest);
                }
                if let Some((class, rest)) = perl_class(text) {
                    self.atom(|out| out.push_str(class));
                    return Ok(rest);
                }
                let (code, rest) = escape(text)?;
                self.literal(code);
                return Ok(rest);
            }
        }
        Ok(&text[2..])
    }

    /// Applies `repeat` to the newest atom. `text` starts with the operator, `after` is what follows it.
    fn repeat<'a>(
        &mut self,
        repeat: Repeat<'_>,
        text: &'a str,
        after: &'a str,
        last_repeat: Option<&str>,
    ) -> Result<&'a str, Error> {
        let (rest, mut lazy) = match after.strip_prefix('?') {
            Some(rest) => (rest, true),
            None => (after, false),
        };
        lazy ^= self.flags.swap_greed;
        if let Some(last) = last_repeat {
            return Err(Error::new(Reason::InvalidRepeatOp, before(last, rest)));
        }
        let Some(atom) = &mut self.scope.atom else {
            return Err(Error::new(Reason::MissingRepeatArgument, before(text, rest)));
        };
        if let Some((min, max)) = repeat.count {
            let count = if max < 0 { min.max(1) } else { max } as u64;
            atom.weight = atom.weight.saturating_mul(count);
            if atom.weight > REPEAT_MAX && (min >= 2 || max >= 2) {
                return Err(Error::new(Reason::InvalidRepeatSize, before(text, rest)));
            }
        }
        let mut end = atom.span.end;
        if atom.repeated {
            // Only flags can stand between the two: `a*(?i)?` is not `a*?`.
            self.out.insert(end, ')');
            self.out.insert_str(atom.span.start, "(?:");
            end += 4;
        }
        self.out.insert_str(end, repeat.op);
        end += repeat.op.len();
        if lazy {
            self.out.insert(end, '?');
            end += 1;
        }
        atom.span.end = end;
        atom.repeated = true;
        Ok(rest)
    }
}

struct Repeat<'a> {
    /// As written, without the `?` of a lazy one: the same text in both dialects.
    op: &'a str,
    /// Smallest and largest count of `{min,max}`; -1 is no upper bound.
    count: Option<(i64, i64)>,
}

/// `{2}`, `{2,}`, `{2,5}`; a count of -1 is none (largest) or too large (smallest).
fn repeat_count(text: &str) -> Option<(i64, i64, &str)> {
    let (min, rest) = count(&text[1..])?;
    let (max, rest) = match rest.strip_prefix(',') {
        None => (min, rest),
        Some(rest) if rest.starts_with('}') => (-1, rest),
        Some(rest) => count(rest)?,
    };
    // A largest count beyond reason is as wrong as a smallest one.
    let min = if max < 0 && !text[..text.len() - rest.len()].ends_with(',') { -1 } else { min };
    Some((min, max, rest.strip_prefix('}')?))
}

/// A decimal number without leading zeros; -1 when it is beyond reason.
fn count(text: &str) -> Option<(i64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || (digits > 1 && text.starts_with('0')) {
        return None;
    }
    let (number, rest) = text.split_at(digits);
    let number = if digits > 9 { -1 } else { number.parse().unwrap_or(-1) };
    Some((number, rest))
}
