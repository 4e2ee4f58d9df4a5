//! Needles that every matching line contains, from which storage decides that a block cannot match.

use memchr::memmem;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Alternatives kept at most; beyond that a condition is left out, which only makes the set weaker.
const ALTERNATIVES_MAX: usize = 32;

/// Text that must occur.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Needle {
    /// Never empty.
    pub bytes: Box<[u8]>,
    /// ASCII letters match in either case.
    pub ignore_case: bool,
}

impl Needle {
    /// A needle that matches as it is.
    pub fn exact(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into(), ignore_case: false }
    }

    /// True when `haystack` contains the needle. For tests and for small inputs: nothing is precomputed.
    pub fn occurs_in(&self, haystack: &[u8]) -> bool {
        if self.ignore_case {
            haystack.windows(self.bytes.len()).any(|window| window.eq_ignore_ascii_case(&self.bytes))
        } else {
            memmem::find(haystack, &self.bytes).is_some()
        }
    }
}

/// A necessary condition on a line: for at least one of the alternatives, all its needles occur.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Literals {
    /// Never empty, and no alternative is empty.
    pub alternatives: Vec<Vec<Needle>>,
}

impl Literals {
    /// All of `needles` must occur; `None` when there is none.
    pub fn all_of(needles: Vec<Needle>) -> Option<Self> {
        (!needles.is_empty()).then(|| Self { alternatives: vec![needles] })
    }

    /// This or that. `None` stands for "no condition".
    pub fn or(this: Option<Self>, that: Option<Self>) -> Option<Self> {
        let (mut this, that) = (this?, that?);
        this.alternatives.extend(that.alternatives);
        (this.alternatives.len() <= ALTERNATIVES_MAX).then_some(this)
    }

    /// False only when no line that contains nothing but bytes of `haystack` can match.
    pub fn may_match(&self, haystack: &[u8]) -> bool {
        self.alternatives.iter().any(|needles| needles.iter().all(|needle| needle.occurs_in(haystack)))
    }
}

/// What a line must contain when the regular expression is found in it.
pub(crate) fn required_by(hir: &Hir) -> Option<Literals> {
    let mut alternatives = required(hir);
    // Expressions see a byte that is not UTF-8 as U+FFFD, so such a line need not contain the character itself.
    let is_replacement = |needle: &Needle| memmem::find(&needle.bytes, "\u{fffd}".as_bytes()).is_some();
    alternatives.iter_mut().for_each(|needles| needles.retain(|needle| !is_replacement(needle)));
    let is_condition = !alternatives.is_empty() && alternatives.iter().all(|needles| !needles.is_empty());
    is_condition.then_some(Literals { alternatives })
}

/// The texts of which any makes the expression match, when it is nothing but that: `foo`, `foo|bar`, `.*foo.*`.
pub(crate) fn plain_alternatives(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    let plain = |hir: &Hir| {
        let run = exact(strip_optional_ends(hir).as_ref().unwrap_or(hir))?;
        run.iter().all(|(_, folded)| !folded).then(|| run.iter().map(|(byte, _)| *byte).collect::<Vec<u8>>())
    };
    match hir.kind() {
        HirKind::Alternation(branches) => branches.iter().map(plain).collect(),
        HirKind::Capture(capture) => plain_alternatives(&capture.sub),
        _ => Some(vec![plain(hir)?]),
    }
}

/// True when the literals of [`required_by`] are all there is to the expression: `(?i)error`, `(?i)(warn|error)`, but not
/// `(?i)a1|B`, as a needle folds all of its letters or none.
pub(crate) fn literals_decide(hir: &Hir) -> bool {
    let is_text = |hir: &Hir| {
        exact(hir).is_some_and(|run| {
            let mut letters = run.iter().filter(|(byte, _)| byte.is_ascii_alphabetic()).map(|(_, folded)| *folded);
            let first = letters.next();
            !run.is_empty() && letters.all(|folded| Some(folded) == first)
        })
    };
    match hir.kind() {
        HirKind::Alternation(branches) => branches.len() <= ALTERNATIVES_MAX && branches.iter().all(is_text),
        HirKind::Capture(capture) => literals_decide(&capture.sub),
        _ => is_text(hir),
    }
}

/// Without optional parts at either end, which an unanchored search does not need.
fn strip_optional_ends(hir: &Hir) -> Option<Hir> {
    let is_optional = |part: &Hir| matches!(part.kind(), HirKind::Repetition(repetition) if repetition.min == 0);
    let HirKind::Concat(parts) = hir.kind() else {
        return is_optional(hir).then(Hir::empty);
    };
    let mut parts = &parts[..];
    while let Some((first, rest)) = parts.split_first()
        && is_optional(first)
    {
        parts = rest;
    }
    while let Some((last, rest)) = parts.split_last()
        && is_optional(last)
    {
        parts = rest;
    }
    Some(Hir::concat(parts.to_vec()))
}

/// A byte, and whether it is a letter of either case.
type Run = Vec<(u8, bool)>;

/// The one text (up to ASCII case) that the expression matches.
fn exact(hir: &Hir) -> Option<Run> {
    match hir.kind() {
        HirKind::Empty => Some(Run::new()),
        HirKind::Literal(literal) => Some(literal.0.iter().map(|&byte| (byte, false)).collect()),
        HirKind::Class(class) => folded_letter(class).map(|letter| vec![(letter, true)]),
        HirKind::Capture(capture) => exact(&capture.sub),
        HirKind::Concat(parts) => {
            let mut run = Run::new();
            for part in parts {
                run.extend(exact(part)?);
            }
            Some(run)
        }
        HirKind::Repetition(repetition) if repetition.max == Some(repetition.min) && repetition.min <= 64 => {
            let run = exact(&repetition.sub)?;
            Some(run.repeat(repetition.min as usize))
        }
        _ => None,
    }
}

/// `[Aa]`. Not `(?i)k`, which Unicode folding lets match U+212A too.
fn folded_letter(class: &Class) -> Option<u8> {
    let letters: Vec<u32> = match class {
        Class::Unicode(class) => class.iter().flat_map(|r| [r.start() as u32, r.end() as u32]).collect(),
        Class::Bytes(class) => class.iter().flat_map(|r| [u32::from(r.start()), u32::from(r.end())]).collect(),
    };
    let [upper, upper_end, lower, lower_end] = letters[..] else { return None };
    let is_pair = upper == upper_end && lower == lower_end && lower < 0x80 && upper + 0x20 == lower;
    (is_pair && (lower as u8).is_ascii_lowercase()).then_some(lower as u8)
}

fn needle(run: &mut Run) -> Option<Needle> {
    let run = std::mem::take(run);
    if run.is_empty() {
        return None;
    }
    let ignore_case = run.iter().any(|(_, folded)| *folded);
    Some(Needle { bytes: run.iter().map(|(byte, _)| *byte).collect(), ignore_case })
}

/// Alternatives of conditions; an empty alternative is no condition.
fn required(hir: &Hir) -> Vec<Vec<Needle>> {
    if let Some(mut run) = exact(hir) {
        return vec![needle(&mut run).into_iter().collect()];
    }
    match hir.kind() {
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Alternation(branches) => {
            let all: Vec<Vec<Needle>> = branches.iter().flat_map(required).collect();
            if all.len() > ALTERNATIVES_MAX { vec![Vec::new()] } else { all }
        }
        HirKind::Concat(parts) => {
            let mut product: Vec<Vec<Needle>> = vec![Vec::new()];
            let mut run = Run::new();
            for part in parts {
                // An assertion takes no room, so the text goes on behind it.
                if matches!(part.kind(), HirKind::Look(_)) {
                    continue;
                }
                if let Some(more) = exact(part) {
                    run.extend(more);
                    continue;
                }
                product = and(product, vec![needle(&mut run).into_iter().collect()]);
                product = and(product, required(part));
            }
            and(product, vec![needle(&mut run).into_iter().collect()])
        }
        _ => vec![Vec::new()],
    }
}

fn and(left: Vec<Vec<Needle>>, right: Vec<Vec<Needle>>) -> Vec<Vec<Needle>> {
    let is_no_condition = right.iter().any(Vec::is_empty);
    if is_no_condition || left.len() * right.len() > ALTERNATIVES_MAX {
        return left;
    }
    left.iter().flat_map(|l| right.iter().map(move |r| l.iter().chain(r).cloned().collect())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_must_occur() {
        #[track_caller]
        fn check(pattern: &str, want: &str) {
            let hir = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern).expect(pattern);
            let text = |needle: &Needle| {
                let text = String::from_utf8_lossy(&needle.bytes).into_owned();
                if needle.ignore_case { format!("~{text}") } else { text }
            };
            let got = required_by(&hir).map_or("-".to_owned(), |literals| {
                let texts = literals.alternatives.iter();
                texts.map(|all| all.iter().map(text).collect::<Vec<_>>().join("&")).collect::<Vec<_>>().join("|")
            });
            assert_eq!(got, want, "{pattern}");
        }
        check("foo", "foo");
        check("foo|barn", "foo|barn");
        check("slow.*[5-9]ms", "slow&ms");
        check("(?i)error", "~error");
        check("(?i)task", "~ta"); // s and k fold beyond ASCII
        check("a(b|c)d", "a&d"); // the class [bc] is no literal
        check("data(base|store)", "data&base|data&store");
        check("x*", "-");
        check("x+y", "x&y");
        check("(foo)?", "-");
        check("foo|", "-");
        check(r"\bGET\b.*\b401\b", "GET&401");
        check("^$", "-");
        check("ab{2}c", "abbc");
        check("ab.\u{fffd}.cd", "ab&cd");
    }

    #[test]
    fn sees_when_literals_are_all_there_is() {
        #[track_caller]
        fn check(pattern: &str, want: bool) {
            let hir = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern).expect(pattern);
            assert_eq!(literals_decide(&hir), want, "{pattern}");
        }
        check("(?i)error", true);
        check("(?i)(error|fatal)", true);
        check("(?i)error|fatal 1", true);
        check("(?i)err(?-i)or", false);
        check("(?i)task", false); // s and k fold beyond ASCII
        check("err.r", false);
        check("^error", false);
        check("(?i)error|", false);
        check("", false);
    }

    #[test]
    fn sees_plain_alternatives() {
        #[track_caller]
        fn check(pattern: &str, want: Option<&[&str]>) {
            let hir = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern).expect(pattern);
            let want = want.map(|all| all.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>());
            assert_eq!(plain_alternatives(&hir), want, "{pattern}");
        }
        check("foo", Some(&["foo"]));
        check(".*foo.*", Some(&["foo"]));
        check("WARN|ERR", Some(&["WARN", "ERR"]));
        check("(WARN|ERR)", Some(&["WARN", "ERR"]));
        check("^foo", None);
        check("fo+", None);
        check("(?i)foo", None);
        check(".*", Some(&[""]));
    }
}
