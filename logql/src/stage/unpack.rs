//! `| unpack`: the line and the labels that a shipper's `pack` stage put into a JSON object.

use smallvec::SmallVec;

use super::json::escape::unescape;
use super::json::scalar;
use super::json::scan::{Fault, Member, Members, Token, value};
use crate::pipeline::keys::JSON;
use crate::pipeline::names::NameId;
use crate::pipeline::state::{Env, Flow, LabelState, Source, Value};
use crate::pipeline::{Context, ErrorKind, Line};

/// The member that holds the line.
const ENTRY: &[u8] = b"_entry";

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("expecting json object(6), but it is not")]
    NotAnObject,
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What was found: labels, of which the last of a name wins, and the packed line if there was one.
struct Unpacked {
    labels: SmallVec<[(NameId, Value); 16]>,
    entry: Option<(usize, usize, bool)>,
}

/// False: the line is dropped.
pub(crate) fn run(cx: &mut Context<'_>) -> bool {
    let env = cx.env;
    let source = cx.line.source(&env, cx.is_text);
    if source.bytes.is_empty() {
        return true;
    }
    let unpacked = match read(source, cx.labels, &env) {
        Ok(unpacked) => unpacked,
        // Where nobody looks at labels, parsers fail unnoticed.
        Err(_) if cx.labels.needs.is_empty() => return true,
        Err(error) => {
            cx.labels.set_parser_error(ErrorKind::JsonParser, Some(format_args!("{error}")));
            return true;
        }
    };
    // Without a packed line the members are no labels either.
    let Some((start, end, is_escaped)) = unpacked.entry else { return true };
    for (name, value) in unpacked.labels {
        if cx.labels.set_found(name, value, &env) == Flow::Drop {
            return false;
        }
    }
    replace_line(cx.line, &env, start, end, is_escaped);
    true
}

fn read(source: Source<'_>, labels: &mut LabelState, env: &Env<'_>) -> Result<Unpacked, Error> {
    if source.bytes[0] != b'{' {
        return Err(Error::NotAnObject);
    }
    let mut unpacked = Unpacked { labels: SmallVec::new(), entry: None };
    let mut members = Members::open(source.bytes, 0)?;
    let mut previous = None;
    while let Some(Member { key: raw, is_escaped, at }) = members.next()? {
        let token = value(source.bytes, at)?;
        members.resume(token.next());
        let Token::String { start, end, is_escaped: value_is_escaped } = token else { continue };
        if raw == ENTRY {
            unpacked.entry = Some((start, end, value_is_escaped));
            continue;
        }
        let key = labels.find_key(JSON, previous, raw, |raw, text| {
            if is_escaped {
                return unescape(raw, text);
            }
            text.push_str(&String::from_utf8_lossy(raw));
            true
        });
        previous = Some(key.ok_or(Fault::Escape)?);
        let label = previous.and_then(|key| labels.key(key).label);
        let Some(name) = label.and_then(|name| labels.claim(name)) else { continue };
        let value = scalar(source, token, labels, env);
        unpacked.labels.push((name, value));
    }
    Ok(unpacked)
}

fn replace_line(line: &mut Line, env: &Env<'_>, start: usize, end: usize, is_escaped: bool) {
    let Line { is_rewritten, text, next, .. } = line;
    let raw = &(if *is_rewritten { &text[..] } else { env.entry.line })[start..end];
    next.clear();
    if is_escaped {
        let mut unescaped = String::with_capacity(raw.len());
        // As with labels, what cannot be unescaped is empty.
        if unescape(raw, &mut unescaped) {
            next.extend_from_slice(unescaped.as_bytes());
        }
    } else {
        next.extend_from_slice(raw);
    }
    line.replace();
}
