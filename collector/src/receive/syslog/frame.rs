//! Where a message ends in a stream: the first byte of a connection decides. `<` means that each message ends at a
//! newline, a digit that its length stands before it (RFC 6587).

use memchr::memchr;

/// How messages of a connection are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Not known before the first byte.
    Unknown,
    /// A newline ends a message.
    Lines,
    /// `LEN SP MSG`
    Counted,
}

/// The stream cannot be cut into messages.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Neither `<` nor a digit.
    #[error("a message begins with byte {0:#04x}, neither '<' nor a length")]
    Beginning(u8),
    /// The length is no number, or too large.
    #[error("the length of a message is no number up to {0}")]
    Length(usize),
}

/// Cuts bytes into messages.
#[derive(Debug)]
pub struct Framer {
    framing: Framing,
    message_bytes_max: usize,
    buffer: Vec<u8>,
    /// The rest of an overlong line is passed over.
    skipping: bool,
}

impl Framer {
    /// Longer lines are cut, longer counted messages refused.
    pub fn new(message_bytes_max: usize) -> Self {
        Self { framing: Framing::Unknown, message_bytes_max, buffer: Vec::new(), skipping: false }
    }

    /// Takes bytes and calls `take` for each whole message.
    pub fn feed(&mut self, bytes: &[u8], take: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
        self.buffer.extend_from_slice(bytes);
        if self.framing == Framing::Unknown {
            self.framing = match self.buffer.first() {
                None => return Ok(()),
                Some(b'<') => Framing::Lines,
                Some(byte) if byte.is_ascii_digit() => Framing::Counted,
                Some(byte) => return Err(Error::Beginning(*byte)),
            };
        }
        let mut start = 0;
        loop {
            let rest = &self.buffer[start..];
            let taken = match self.framing {
                Framing::Counted => counted(rest, self.message_bytes_max)?,
                _ => line(rest, self.message_bytes_max, &mut self.skipping),
            };
            let Some((message, len)) = taken else { break };
            if !message.is_empty() {
                take(message);
            }
            start += len;
        }
        self.buffer.drain(..start);
        Ok(())
    }

    /// The stream is over: a line without its newline is a message.
    pub fn end(&mut self, take: &mut dyn FnMut(&[u8])) {
        if self.framing == Framing::Lines && !self.skipping && !self.buffer.is_empty() {
            take(trimmed(&self.buffer));
        }
        self.buffer.clear();
    }
}

/// A message and the bytes that it takes with its frame.
type Taken<'a> = Option<(&'a [u8], usize)>;

fn line<'a>(rest: &'a [u8], limit: usize, skipping: &mut bool) -> Taken<'a> {
    match memchr(b'\n', rest) {
        Some(end) if std::mem::take(skipping) => Some((&[], end + 1)),
        Some(end) => Some((&trimmed(&rest[..end])[..trimmed(&rest[..end]).len().min(limit)], end + 1)),
        None if *skipping && !rest.is_empty() => Some((&[], rest.len())),
        None if rest.len() > limit => {
            *skipping = true;
            Some((&rest[..limit], rest.len()))
        }
        None => None,
    }
}

fn counted(rest: &[u8], limit: usize) -> Result<Taken<'_>, Error> {
    // Some senders end counted messages with a newline that they do not count.
    let newlines = rest.iter().take_while(|b| matches!(b, b'\n' | b'\r')).count();
    let body = &rest[newlines..];
    let digits = body.iter().take_while(|b| b.is_ascii_digit()).count();
    let error = Error::Length(limit);
    if digits > 9 {
        return Err(error);
    }
    let Some(after) = body.get(digits) else { return Ok(None) };
    if digits == 0 || *after != b' ' {
        return Err(error);
    }
    let len = body[..digits].iter().fold(0usize, |len, digit| len * 10 + usize::from(digit - b'0'));
    if len > limit {
        return Err(error);
    }
    let start = digits + 1;
    Ok(body.get(start..start + len).map(|message| (trimmed(message), newlines + start + len)))
}

fn trimmed(message: &[u8]) -> &[u8] {
    let message = message.strip_suffix(b"\n").unwrap_or(message);
    message.strip_suffix(b"\r").unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fed whole and byte by byte.
    #[track_caller]
    fn check(stream: &str, want: Result<&[&str], Error>) {
        for step in [1, 3, stream.len().max(1)] {
            let mut got = Vec::new();
            let mut framer = Framer::new(20);
            let mut take = |message: &[u8]| got.push(String::from_utf8_lossy(message).into_owned());
            let result = stream.as_bytes().chunks(step).try_for_each(|bytes| framer.feed(bytes, &mut take));
            framer.end(&mut take);
            match &want {
                Ok(want) => assert_eq!((got, result), (want.iter().map(|t| (*t).to_owned()).collect(), Ok(()))),
                Err(error) => assert_eq!(result.as_ref(), Err(error)),
            }
        }
    }

    #[test]
    fn cuts_streams() {
        check("<1>a\n<2>b\r\n\n<3>c", Ok(&["<1>a", "<2>b", "<3>c"]));
        check("4 <1>a6 <2>b\nc\n3 <3>", Ok(&["<1>a", "<2>b\nc", "<3>"]));
        check("", Ok(&[]));
        check("<1>aaaaaaaaaaaaaaaaaaaaaaaaaaa\n<2>b\n", Ok(&["<1>aaaaaaaaaaaaaaaaa", "<2>b"]));
        check("hello", Err(Error::Beginning(b'h')));
        check("21 x", Err(Error::Length(20)));
        check("4x", Err(Error::Length(20)));
        check("99999999999", Err(Error::Length(20)));
    }
}
