//! The journal's export format, as `journalctl --output=export` writes it.
//!
//! ```text
//! entry := field* "\n"
//! field := NAME "=" text "\n"  |  NAME "\n" len:u64le bytes "\n"
//! ```
//!
//! Source: systemd, "Journal Export Formats".

use memchr::memchr;

/// No field is longer; journald itself cuts at 768 MiB, which nobody sends.
const FIELD_BYTES_MAX: usize = 16 << 20;
/// Fields of an entry; more is damage.
const FIELDS_MAX: usize = 1024;

/// The bytes are not in the format.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not the journal's export format: {0}")]
pub struct Error(&'static str);

/// Fields of an entry in their order; a name may come several times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Name and value.
    pub fields: Vec<(String, Vec<u8>)>,
}

impl Entry {
    /// The first value of a field.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_slice())
    }

    /// The first value of a field, as text.
    pub fn text(&self, name: &str) -> Option<std::borrow::Cow<'_, str>> {
        self.get(name).map(String::from_utf8_lossy)
    }
}

/// Takes the first entry from the start of `bytes`, with the bytes that it takes; `None`: it is not whole yet. An entry
/// without fields is what is left of an entry's end.
///
/// # Errors
/// What is wrong with the bytes.
pub fn parse(bytes: &[u8]) -> Result<Option<(Entry, usize)>, Error> {
    let mut entry = Entry::default();
    let mut at = 0;
    loop {
        let Some(len) = memchr(b'\n', &bytes[at..]) else {
            let is_endless = bytes.len() - at > FIELD_BYTES_MAX;
            return if is_endless { Err(Error("a field has no end")) } else { Ok(None) };
        };
        let line = &bytes[at..at + len];
        at += len + 1;
        if line.is_empty() {
            return Ok(Some((entry, at)));
        }
        if entry.fields.len() == FIELDS_MAX {
            return Err(Error("an entry has too many fields"));
        }
        let name = |name: &[u8]| match name {
            [] => Err(Error("a field has no name")),
            name => Ok(String::from_utf8_lossy(name).into_owned()),
        };
        if let Some(equals) = memchr(b'=', line) {
            entry.fields.push((name(&line[..equals])?, line[equals + 1..].to_vec()));
            continue;
        }
        let Some((len, rest)) = bytes[at..].split_first_chunk::<8>() else { return Ok(None) };
        let len = usize::try_from(u64::from_le_bytes(*len)).ok().filter(|len| *len <= FIELD_BYTES_MAX);
        let len = len.ok_or(Error("a field is too long"))?;
        let Some(value) = rest.get(..len) else { return Ok(None) };
        match rest.get(len) {
            None => return Ok(None),
            Some(b'\n') => {}
            Some(_) => return Err(Error("a field goes on behind its length")),
        }
        entry.fields.push((name(line)?, value.to_vec()));
        at += 8 + len + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_entries() {
        let mut bytes = b"__CURSOR=c1\nMESSAGE=a=b\nPRIORITY=6\n\nMESSAGE\n".to_vec();
        bytes.extend(3u64.to_le_bytes());
        bytes.extend(b"x\ny\nTAG=1\nTAG=2\n\n");
        let (first, taken) = parse(&bytes).unwrap().unwrap();
        assert_eq!((first.text("MESSAGE").as_deref(), first.text("PRIORITY").as_deref()), (Some("a=b"), Some("6")));
        let (second, rest) = parse(&bytes[taken..]).unwrap().unwrap();
        assert_eq!((second.get("MESSAGE"), second.fields.len()), (Some(&b"x\ny"[..]), 3));
        assert_eq!(taken + rest, bytes.len());
        for end in 0..taken {
            assert_eq!(parse(&bytes[..end]).unwrap(), None);
        }
        for end in taken..bytes.len() {
            assert_eq!(parse(&bytes[taken..end]).unwrap(), None);
        }
    }

    #[test]
    fn refuses_damage() {
        let mut bytes = b"MESSAGE\n".to_vec();
        bytes.extend(u64::MAX.to_le_bytes());
        assert_eq!(parse(&bytes), Err(Error("a field is too long")));
        let mut bytes = b"MESSAGE\n".to_vec();
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(b"ab");
        assert_eq!(parse(&bytes), Err(Error("a field goes on behind its length")));
        assert_eq!(parse(b"=x\n"), Err(Error("a field has no name")));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
