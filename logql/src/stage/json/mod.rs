//! `| json`: members of a JSON object as labels.
//!
//! - `mod.rs`: the whole object, nested names joined by `_`
//! - `path.rs`: `| json a="x.y[0]"`, only what is named
//! - `scan.rs`: values in text; `escape.rs`: strings

pub(super) mod escape;
pub(crate) mod path;
pub(crate) mod scan;

use smallvec::SmallVec;

use crate::pipeline::keys::{JSON, KeyId};
use crate::pipeline::state::{Env, Flow, LabelState, Source, Value};
use crate::pipeline::{Context, ErrorKind};
use escape::unescape;
use scan::{Fault, Member, Members, Token};

/// Sets a label for every string, number and boolean of the object that somebody needs. False: the line is dropped.
pub(crate) fn run(cx: &mut Context<'_>) -> bool {
    if cx.labels.needs.is_empty() {
        return true;
    }
    let env = cx.env;
    let source = cx.line.source(&env, cx.is_text);
    match object(source, JSON, cx.labels, &env) {
        Ok(flow) => flow != Flow::Drop,
        Err(fault) => {
            cx.labels.set_parser_error(ErrorKind::JsonParser, Some(format_args!("{fault}")));
            true
        }
    }
}

/// An object that is being read: the key it belongs to and the member before.
struct Level<'a> {
    members: Members<'a>,
    parent: KeyId,
    previous: Option<KeyId>,
    /// Where the object around goes on.
    end: usize,
}

fn object(source: Source<'_>, root: KeyId, labels: &mut LabelState, env: &Env<'_>) -> Result<Flow, Fault> {
    let mut level = Level { members: Members::open(source.bytes, 0)?, parent: root, previous: None, end: 0 };
    // The objects around the current one; their number is bounded by the depth of keys.
    let mut around: SmallVec<[Level<'_>; 8]> = SmallVec::new();
    loop {
        let Some(Member { key: raw, is_escaped, at }) = level.members.next()? else {
            let Some(outer) = around.pop() else { return Ok(Flow::Continue) };
            let end = level.end;
            level = outer;
            level.members.resume(end);
            continue;
        };
        let key = labels.find_key(level.parent, level.previous, raw, |raw, text| {
            if is_escaped {
                return unescape(raw, text);
            }
            text.push_str(&String::from_utf8_lossy(raw));
            true
        });
        let key = key.ok_or(Fault::Escape)?;
        level.previous = Some(key);
        let token = scan::value(level.members.text(), at)?;
        level.members.resume(token.next());
        match token {
            Token::Object { start, end } if labels.key(key).is_needed_below => {
                let members = Members::open(&source.bytes[..end], start)?;
                around.push(std::mem::replace(&mut level, Level { members, parent: key, previous: None, end }));
            }
            Token::Object { .. } | Token::Array { .. } | Token::Null { .. } => {}
            Token::String { .. } | Token::Scalar { .. } => {
                let Some(name) = labels.key(key).label.and_then(|name| labels.claim(name)) else { continue };
                let value = scalar(source, token, labels, env);
                let flow = labels.set_found(name, value, env);
                if flow != Flow::Continue {
                    return Ok(flow);
                }
            }
        }
    }
}

/// The value of a string or scalar token.
pub(super) fn scalar(source: Source<'_>, token: Token, labels: &mut LabelState, env: &Env<'_>) -> Value {
    match token {
        Token::String { start, end, is_escaped: true } => {
            let text = labels.write(|out| unescape(&source.bytes[start..end], out));
            // What cannot be unescaped is empty.
            text.unwrap_or_else(|| labels.copy_bytes(b""))
        }
        Token::String { start, end, .. } => labels.cut_repaired(source, start..end, env),
        Token::Scalar { start, end } | Token::Object { start, end } | Token::Array { start, end } => {
            labels.cut(source, start..end, env)
        }
        Token::Null { .. } => labels.copy_bytes(b""),
    }
}
