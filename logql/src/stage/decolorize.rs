//! `| decolorize`: removes terminal colour codes.
//!
//! ```text
//! code  := start  any of [ ] ( ) # ; ?  (to-bell | params)
//! start := U+001B | U+009B
//! to-bell := [A-Za-z0-9;]* BEL          params := (up to 4 digits, then `;` and up to 4 digits…)? final
//! final := 0-9 A-P R Z c f-n q r t y = > < ~
//! ```
//!
//! Links (OSC 8) are only half removed, as in the reference server.

use memchr::memchr2_iter;

use crate::pipeline::Context;

/// Rewrites the line if it has a code.
pub(crate) fn run(cx: &mut Context<'_>) {
    let line = if cx.line.is_rewritten { &cx.line.text[..] } else { cx.env.entry.line };
    let mut copied = 0;
    cx.line.next.clear();
    // U+009B is C2 9B.
    for at in memchr2_iter(0x1b, 0xc2, line) {
        if at < copied {
            continue;
        }
        if let Some(len) = code_len(&line[at..]) {
            cx.line.next.extend_from_slice(&line[copied..at]);
            copied = at + len;
        }
    }
    if copied > 0 {
        cx.line.next.extend_from_slice(&line[copied..]);
        cx.line.replace();
    }
}

/// Appends `line` to `out` without its codes. False, and nothing appended, when it has none.
pub fn decolorize(line: &[u8], out: &mut Vec<u8>) -> bool {
    let mut copied = 0;
    for at in memchr2_iter(0x1b, 0xc2, line) {
        if at < copied {
            continue;
        }
        if let Some(len) = code_len(&line[at..]) {
            out.extend_from_slice(&line[copied..at]);
            copied = at + len;
        }
    }
    if copied > 0 {
        out.extend_from_slice(&line[copied..]);
    }
    copied > 0
}

/// Length of the code at the start of `text`.
fn code_len(text: &[u8]) -> Option<usize> {
    let start = match text {
        [0x1b, ..] => 1,
        [0xc2, 0x9b, ..] => 2,
        _ => return None,
    };
    // The marks are taken as far as they go; when what follows does not fit, fewer of them: `;` may be either.
    let marks = run_len(&text[start..], |b| b"[]()#;?".contains(&b));
    (0..=marks).rev().find_map(|taken| {
        let body = start + taken;
        let rest = &text[body..];
        to_bell_len(rest).or_else(|| params_len(rest)).map(|len| body + len)
    })
}

/// `[A-Za-z0-9;]*` and BEL.
fn to_bell_len(rest: &[u8]) -> Option<usize> {
    let len = run_len(rest, |b| b.is_ascii_alphanumeric() || b == b';');
    (rest.get(len) == Some(&0x07)).then_some(len + 1)
}

/// Numbers of at most four digits between `;`, and a final byte, which may be a digit too: the longest reading.
fn params_len(rest: &[u8]) -> Option<usize> {
    let digits = |at: usize| run_len(&rest[at..], |b| b.is_ascii_digit()).min(4);
    let is_end = |at: usize| rest.get(at).is_some_and(|&b| is_final(b));
    let mut len = is_end(0).then_some(1);
    let mut at = 0;
    let mut more = digits(0);
    while more > 0 || at > 0 {
        // After each digit the code may end, the later the better.
        len = (at..=at + more).rev().find(|&end| is_end(end)).map(|end| end + 1).or(len);
        at += more;
        if rest.get(at) != Some(&b';') {
            break;
        }
        at += 1;
        more = digits(at);
    }
    len
}

fn is_final(b: u8) -> bool {
    matches!(b, b'0'..=b'9' | b'A'..=b'P' | b'R' | b'Z' | b'c' | b'f'..=b'n' | b'q' | b'r' | b't' | b'y' | b'=' | b'>' | b'<' | b'~')
}

fn run_len(text: &[u8], accept: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|&b| !accept(b)).unwrap_or(text.len())
}
