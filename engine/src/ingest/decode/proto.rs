//! The protobuf wire format: fields of a message, one after the other, borrowed.
//!
//! ```text
//! message := (key:varint value)*        key = field number << 3 | wire type
//! value   := varint | u64le | len:varint bytes | u32le          for wire types 0, 1, 2, 5
//! ```
//!
//! Source: Protocol Buffers documentation, "Encoding".

use super::Error;

/// Groups within groups that are skipped; protobuf itself never nests deeper than its messages.
const GROUP_DEPTH_MAX: u32 = 32;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Integers, booleans, enums.
    Varint(u64),
    /// `fixed64`, `double`.
    Fixed64(u64),
    /// Strings, bytes, messages.
    Bytes(&'a [u8]),
    /// `fixed32`, `float`.
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// The bytes of a length-delimited field.
    pub fn bytes(self) -> Result<&'a [u8], Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(wrong_type()),
        }
    }

    /// The number of a varint field.
    pub fn varint(self) -> Result<u64, Error> {
        match self {
            Self::Varint(number) => Ok(number),
            _ => Err(wrong_type()),
        }
    }

    /// The number of a 64-bit field.
    pub fn fixed64(self) -> Result<u64, Error> {
        match self {
            Self::Fixed64(number) => Ok(number),
            _ => Err(wrong_type()),
        }
    }

    /// The number of a 32-bit field.
    pub fn fixed32(self) -> Result<u32, Error> {
        match self {
            Self::Fixed32(number) => Ok(number),
            _ => Err(wrong_type()),
        }
    }
}

fn wrong_type() -> Error {
    Error::malformed("proto: a field has the wrong wire type")
}

fn cut_off() -> Error {
    Error::malformed("proto: unexpected EOF")
}

/// Iterates over the fields of a message, unknown ones and all.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field: its number and value. Groups are passed over. `None` at the end.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the message is cut off or no message.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<(u32, Value<'a>)>, Error> {
        while !self.rest.is_empty() {
            let key = self.varint()?;
            let number = u32::try_from(key >> 3).ok().filter(|&number| number > 0);
            let number = number.ok_or_else(|| Error::malformed(format!("proto: illegal tag {}", key >> 3)))?;
            match self.value(key & 7, number, 0)? {
                Some(value) => return Ok(Some((number, value))),
                None => continue,
            }
        }
        Ok(None)
    }

    /// The value of a field; `None` for a group.
    #[inline]
    fn value(&mut self, wire_type: u64, number: u32, depth: u32) -> Result<Option<Value<'a>>, Error> {
        Ok(Some(match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| cut_off())?;
                let (bytes, rest) = self.rest.split_at_checked(len).ok_or_else(cut_off)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            3 => {
                self.skip_group(number, depth)?;
                return Ok(None);
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            other => return Err(Error::malformed(format!("proto: illegal wireType {other}"))),
        }))
    }

    #[cold]
    fn skip_group(&mut self, number: u32, depth: u32) -> Result<(), Error> {
        if depth >= GROUP_DEPTH_MAX {
            return Err(Error::malformed("proto: groups are nested too deeply"));
        }
        loop {
            let key = self.varint()?;
            if key & 7 == 4 {
                return if key >> 3 == u64::from(number) {
                    Ok(())
                } else {
                    Err(Error::malformed("proto: unexpected end of group"))
                };
            }
            self.value(key & 7, u32::try_from(key >> 3).unwrap_or(0), depth + 1)?;
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Error> {
        // Most keys and lengths take one byte.
        if let [first @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*first));
        }
        let mut number = 0;
        for (idx, &byte) in self.rest.iter().enumerate().take(10) {
            // Bits beyond the 64th are cut off, as every decoder does.
            number |= u64::from(byte & 0x7f) << (7 * idx);
            if byte < 0x80 {
                self.rest = &self.rest[idx + 1..];
                return Ok(number);
            }
        }
        Err(if self.rest.len() < 10 { cut_off() } else { Error::malformed("proto: integer overflow") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields() {
        #[track_caller]
        fn check(message: &[u8], want: Result<&[(u32, Value<'_>)], &str>) {
            let mut fields = Fields::new(message);
            let mut got = Vec::new();
            let outcome = loop {
                match fields.next_field() {
                    Ok(Some(field)) => got.push(field),
                    Ok(None) => break Ok(&*got),
                    Err(error) => break Err(error.to_string()),
                }
            };
            assert_eq!(outcome, want.map_err(str::to_owned), "{message:x?}");
        }
        check(b"", Ok(&[]));
        check(b"\x08\x96\x01", Ok(&[(1, Value::Varint(150))]));
        check(b"\x12\x07testing", Ok(&[(2, Value::Bytes(b"testing"))]));
        check(b"\x19\x01\0\0\0\0\0\0\0\x25\x02\0\0\0", Ok(&[(3, Value::Fixed64(1)), (4, Value::Fixed32(2))]));
        check(b"\x0b\x10\x01\x13\x14\x0c\x08\x05", Ok(&[(1, Value::Varint(5))]));
        check(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Ok(&[(1, Value::Varint(u64::MAX))]));
        check(b"\x08", Err("proto: unexpected EOF"));
        check(b"\x12\x07test", Err("proto: unexpected EOF"));
        check(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Err("proto: unexpected EOF"));
        check(b"\x19\x01", Err("proto: unexpected EOF"));
        check(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Err("proto: integer overflow"));
        check(b"\x00\x01", Err("proto: illegal tag 0"));
        check(b"\x0c", Err("proto: illegal wireType 4"));
        check(b"\x0b\x14", Err("proto: unexpected end of group"));
        check(&[0x0b; 100], Err("proto: groups are nested too deeply"));
    }
}
