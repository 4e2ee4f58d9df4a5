//! `logproto.PushRequest`: what promtail, Alloy and Vector send.
//!
//! ```text
//! PushRequest   := 1:StreamAdapter*
//! StreamAdapter := 1:labels 2:EntryAdapter*
//! EntryAdapter  := 1:Timestamp 2:line 3:LabelPairAdapter*          structured metadata
//! Timestamp     := 1:seconds 2:nanos        LabelPairAdapter := 1:name 2:value
//! ```
//!
//! Other fields (format, the client's hash, parsed labels) are passed over. Strings may hold any bytes.

use super::proto::{Fields, Value};
use super::{Decoded, Error, LabelSource, Span};
use crate::ingest::budget::Share;

const NS_PER_S: i64 = 1_000_000_000;

/// Reads an uncompressed request.
///
/// # Errors
/// [`Error`] when it is no such message, or takes more memory than `share` can get.
pub fn decode(body: Vec<u8>, share: Share) -> Result<Decoded, Error> {
    // The bytes are lent to the reader and joined with what points into them afterwards.
    let mut out = Decoded::new(Vec::new(), share);
    let mut request = Fields::new(&body);
    while let Some((number, value)) = request.next_field()? {
        if number == 1 {
            stream(value.bytes()?, &body, &mut out)?;
        }
    }
    out.bytes = body;
    Ok(out)
}

fn stream(message: &[u8], body: &[u8], out: &mut Decoded) -> Result<(), Error> {
    out.push_stream(LabelSource::Selector(Span::default()))?;
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next_field()? {
        match number {
            1 => {
                let labels = LabelSource::Selector(span(value.bytes()?, body));
                out.streams.last_mut().expect("opened above").labels = labels;
            }
            2 => entry(value.bytes()?, body, out)?,
            _ => {}
        }
    }
    Ok(())
}

fn entry(message: &[u8], body: &[u8], out: &mut Decoded) -> Result<(), Error> {
    let (mut timestamp_ns, mut line) = (0, Span::default());
    let pairs_start = out.pairs.len();
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next_field()? {
        match number {
            1 => timestamp_ns = timestamp(value.bytes()?)?,
            2 => line = span(value.bytes()?, body),
            3 => {
                let (name, value) = pair(value.bytes()?)?;
                out.push_pair(span(name, body), span(value, body))?;
            }
            _ => {}
        }
    }
    let pairs = pairs_start..out.pairs.len();
    out.push_entry(timestamp_ns, line, 0..0, pairs)
}

/// ns since the epoch; what does not fit saturates, and is then too old or too new.
fn timestamp(message: &[u8]) -> Result<i64, Error> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next_field()? {
        match (number, value) {
            (1, Value::Varint(number)) => seconds = number.cast_signed(),
            // An int32 travels as its sign-extended 64 bits.
            (2, Value::Varint(number)) => nanos = i64::from(number as i32),
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(NS_PER_S).saturating_add(nanos))
}

fn pair(message: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let (mut name, mut text): (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next_field()? {
        match number {
            1 => name = value.bytes()?,
            2 => text = value.bytes()?,
            _ => {}
        }
    }
    Ok((name, text))
}

/// Where `part` lies in `body`, which it was borrowed from.
#[inline]
fn span(part: &[u8], body: &[u8]) -> Span {
    if part.is_empty() {
        // Perhaps a default, which lies nowhere.
        return Span::default();
    }
    let start = part.as_ptr().addr() - body.as_ptr().addr();
    Span::new(start..start + part.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::decode::tests::{check_push, share};

    #[test]
    fn reads_a_push() {
        #[track_caller]
        fn check(body: &[u8], want: Result<&str, &str>) {
            check_push(decode(body.to_vec(), share()), want);
        }
        check(b"", Ok(""));
        check(b"\x0a\x00", Ok("<>"));
        // labels, hash, entry {1s 2ns "hi" k=v}, format
        let body = b"\x0a\x23\x0a\x05{a=1}\x18\x07\x12\x18\x0a\x04\x08\x01\x10\x02\x12\x02hi\x1a\x06\x0a\x01k\x12\x01v\x22\x04\x0a\x00\x12\x00\x12\x01x";
        check(body, Ok("<{a=1}> 1000000002 hi [k=v]"));
        // Labels after the entries; an entry without anything; far in the past.
        check(
            b"\x0a\x18\x12\x00\x12\x0f\x0a\x0b\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x12\x00\x0a\x03{b}",
            Ok("<{b}> 0  [] -9223372036854775808  []"),
        );
        check(b"\x0a\x05\x0a\x05{a", Err("proto: unexpected EOF"));
        check(b"\x08\x05", Err("proto: a field has the wrong wire type"));
        check(b"{\"streams\":[]}", Err("proto: unexpected EOF"));
    }
}
