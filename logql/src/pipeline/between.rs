//! The value between two texts that `| regexp "took (?P<ms>[0-9.]+) ms"` makes a label.

use regex::bytes::Regex;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

use logstack_go::re2::{Flags, Translated, translate_with};

/// An expression that is a text, one group and perhaps a text behind it. It finds its first match where the first text is
/// first found, if the value there is one and the second text follows.
#[derive(Debug)]
pub struct Between {
    before: Box<[u8]>,
    after: Box<[u8]>,
    /// By byte: may be in a value.
    is_in_values: [bool; 256],
    /// The group alone, at the beginning of a text; of all of it if `after` says where a value ends.
    value: Regex,
}

impl Between {
    /// What `pattern` is, and the name of its group; `None` for any other expression.
    pub(super) fn of(pattern: &str) -> Option<(Self, String)> {
        let Translated { text: translated, names } = translate_with(pattern, Flags::default()).ok()?;
        let [None, Some(name)] = &names[..] else { return None };
        let mut parser = ParserBuilder::new();
        parser.utf8(false);
        let hir = parser.build().parse(&translated).ok()?;
        let HirKind::Concat(parts) = hir.kind() else { return None };
        let (before, group, after) = match &parts[..] {
            [before, group] => (text(before)?, group, Box::default()),
            [before, group, after] => (text(before)?, group, text(after)?),
            _ => return None,
        };
        let HirKind::Capture(group) = group.kind() else { return None };
        let value = group.sub.to_string();
        // A repetition of a repetition is printed as something else.
        if parser.build().parse(&value).ok()? != *group.sub {
            return None;
        }
        let mut is_in_values = [false; 256];
        add_bytes(&group.sub, &mut is_in_values)?;
        if after.first().is_some_and(|&first| is_in_values[usize::from(first)]) {
            return None;
        }
        let end = if after.is_empty() { "" } else { "$" };
        let value = Regex::new(&format!("^(?:{value}){end}")).ok()?;
        Some((Self { before, after, is_in_values, value }, name.clone()))
    }

    /// Stands in front of a value; never empty, ASCII.
    pub fn before(&self) -> &[u8] {
        &self.before
    }

    /// Stands behind a value; ASCII, and its first byte is in no value.
    pub fn after(&self) -> &[u8] {
        &self.after
    }

    /// False when no value has this byte.
    pub fn is_in_values(&self, byte: u8) -> bool {
        self.is_in_values[usize::from(byte)]
    }

    /// The value of a line in which `text` stands behind [`Self::before`] and ends at [`Self::after`], or at a byte that is
    /// in no value, or with the line. `None`: there is none at this place, and the expression goes on to look for one; or it
    /// cannot be told, as the expression sees other characters in place of bytes that are none.
    pub fn value<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        std::str::from_utf8(text).ok()?;
        Some(self.value.find(text)?.as_bytes())
    }
}

fn text(hir: &Hir) -> Option<Box<[u8]>> {
    match hir.kind() {
        HirKind::Literal(literal) if literal.0.is_ascii() => Some(literal.0.clone()),
        _ => None,
    }
}

/// Marks the bytes that a match of `hir` can have; `None` if what is around a match matters to it.
fn add_bytes(hir: &Hir, bytes: &mut [bool; 256]) -> Option<()> {
    match hir.kind() {
        HirKind::Empty => {}
        HirKind::Literal(literal) => {
            literal.0.iter().for_each(|&byte| bytes[usize::from(byte)] = true);
            add_high_bytes(!literal.0.is_ascii(), bytes);
        }
        HirKind::Class(Class::Bytes(class)) => {
            class.iter().for_each(|range| bytes[range.start().into()..=range.end().into()].fill(true));
        }
        HirKind::Class(Class::Unicode(class)) => {
            for range in class.iter() {
                let (start, end) = (range.start() as usize, range.end() as usize);
                bytes[start.min(0x80)..(end + 1).min(0x80)].fill(true);
                add_high_bytes(end >= 0x80, bytes);
            }
        }
        HirKind::Look(_) | HirKind::Capture(_) => return None,
        HirKind::Repetition(repetition) => add_bytes(&repetition.sub, bytes)?,
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().try_for_each(|part| add_bytes(part, bytes))?;
        }
    }
    Some(())
}

/// Bytes of longer characters, or of what is none and is read as one.
fn add_high_bytes(has_longer: bool, bytes: &mut [bool; 256]) {
    bytes[0x80..].iter_mut().for_each(|byte| *byte |= has_longer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::regexp;

    #[test]
    fn knows_texts_around_a_group() {
        let check = |pattern: &str, want: Option<(&str, &str)>| {
            let found = Between::of(pattern).map(|(between, _)| between);
            let texts = |between: &Between| {
                (
                    String::from_utf8_lossy(between.before()).into_owned(),
                    String::from_utf8_lossy(between.after()).into_owned(),
                )
            };
            let want = want.map(|(before, after)| (before.to_owned(), after.to_owned()));
            assert_eq!(found.as_ref().map(texts), want, "{pattern}");
        };
        check(r"duration: (?P<dur>[0-9.]+) ms", Some(("duration: ", " ms")));
        check(r"took=(?P<took>\d+(\.\d+)?)", None);
        check(r"took=(?P<took>\d+(?:\.\d+)?)", Some(("took=", "")));
        check(r"path=(?P<path>\S+) ", Some(("path=", " ")));
        check(r#"path="(?P<path>[^"]*)""#, Some((r#"path=""#, r#"""#)));
        check(r"(?P<all>.*)", None);
        check(r".*took=(?P<took>\d+)", None);
        check(r"took=(?P<took>.*) ms", None);
        check(r"took=(?P<took>\d+)\b", None);
        check(r"took=(?P<took>\d+\b)", None);
        check(r"(?i)took=(?P<took>\d+)", None);
        check(r"a=(?P<a>\d+) b=(?P<b>\d+)", None);
        check(r"größe=(?P<a>\d+)", None);
        check(r"took (?P<ms>(?:\d+)?)", None);
        check(r"took (?P<ms>(?:\d{2})?) ms", None);
    }

    #[test]
    fn cuts_values_as_the_expression_does() {
        let check = |pattern: &str, text: &str, want: Option<&str>| {
            let (between, _) = Between::of(pattern).unwrap();
            let found = between.value(text.as_bytes()).map(|value| std::str::from_utf8(value).unwrap());
            assert_eq!(found, want, "{pattern} {text}");
            let line =
                format!("{}{text}{}", pattern.split('(').next().unwrap(), String::from_utf8_lossy(between.after()));
            let regex = regexp::compile(pattern).unwrap().regex;
            let group = regex.captures(line.as_bytes()).map(|groups| groups.get(1).unwrap().as_bytes().to_vec());
            assert_eq!(group.as_deref(), want.map(str::as_bytes), "{pattern} {line}");
        };
        check(r"took (?P<ms>[0-9.]+) ms", "12.5", Some("12.5"));
        check(r"took (?P<ms>\d+) ms", "12.5", None);
        check(r"took (?P<ms>\d+)", "12.5", Some("12"));
        check(r"took (?P<ms>\d+?)", "12", Some("1"));
        check(r"took (?P<ms>\d*)", "x", Some(""));
        check(r"took (?P<ms>a|ab) ", "ab", Some("ab"));
        check(r"took (?P<ms>a|ab)", "ab", Some("a"));
    }

    #[test]
    fn leaves_what_is_not_utf_8_to_the_expression() {
        let (between, _) = Between::of(r"path=(?P<path>\S+)").unwrap();
        assert_eq!(between.value(b"a\xFFb"), None);
        assert_eq!(between.value("aß".as_bytes()), Some("aß".as_bytes()));
        let (between, _) = Between::of(r"took (?P<x>\d+\x{FFFD}?)").unwrap();
        assert!(between.is_in_values(0xFF));
    }
}
