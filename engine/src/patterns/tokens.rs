//! A line to words and what stands between them.
//!
//! A word is a run of bytes that are no separators. `:` is a word's (`10:15:00`, `error:`), unless a separator stands
//! before it (`"level":"info"`).

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Words that are looked at; what follows in a longer line is one placeholder.
pub const WORDS_MAX: usize = 128;

/// A longer word is never part of a pattern.
const WORD_BYTES_MAX: usize = 64;

/// What a word is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Names a value: `key=`, `"key":`.
    Key,
    /// May be the same in other lines.
    Text,
    /// Has digits, or is too long: surely not.
    Variable,
}

/// A word of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// First byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
    /// See there.
    pub kind: Kind,
}

/// The words of the present line. Keeps its memory from line to line.
#[derive(Debug, Default)]
pub struct Words {
    /// In order.
    pub words: Vec<Word>,
    /// Where the last separator ends: the end of the line, or of what is looked at.
    pub end: usize,
    /// The line goes on.
    pub is_cut: bool,
    key: Vec<u8>,
}

const fn separators() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    // Control characters, the blank among them.
    while byte <= 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[0x7f] = true;
    let marks = b"=,;()[]{}\"'<>|`";
    let mut idx = 0;
    while idx < marks.len() {
        table[marks[idx] as usize] = true;
        idx += 1;
    }
    table
}

static IS_SEPARATOR: [bool; 256] = separators();

impl Words {
    /// Reads `line`.
    pub fn read(&mut self, line: &str) {
        let bytes = line.as_bytes();
        self.words.clear();
        self.is_cut = false;
        let mut at = 0;
        loop {
            while at < bytes.len() && (IS_SEPARATOR[bytes[at] as usize] || bytes[at] == b':') {
                at += 1;
            }
            self.end = at;
            if at == bytes.len() {
                return;
            }
            if self.words.len() == WORDS_MAX {
                self.is_cut = true;
                return;
            }
            let start = at;
            let mut has_digit = false;
            while at < bytes.len() && !IS_SEPARATOR[bytes[at] as usize] {
                has_digit |= bytes[at].is_ascii_digit();
                at += 1;
            }
            let kind = if is_key(bytes, start, at) {
                Kind::Key
            } else if has_digit || at - start > WORD_BYTES_MAX || is_bracketed(bytes, start, at) {
                Kind::Variable
            } else {
                Kind::Text
            };
            self.words.push(Word { start, end: at, kind });
        }
    }

    /// What stands before word `idx`; with the number of words: behind the last.
    pub fn separator<'a>(&self, line: &'a str, idx: usize) -> &'a str {
        let start = if idx == 0 { 0 } else { self.words[idx - 1].end };
        let end = self.words.get(idx).map_or(self.end, |word| word.start);
        &line[start..end]
    }

    /// Equal for lines that may share a template: of `seed`, separators and keys.
    pub fn shape_hash(&mut self, line: &str, seed: u64) -> u64 {
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        for (idx, word) in self.words.iter().enumerate() {
            key.extend_from_slice(self.separator(line, idx).as_bytes());
            // Neither byte is in UTF-8.
            key.push(0xff);
            if word.kind == Kind::Key {
                key.extend_from_slice(&line.as_bytes()[word.start..word.end]);
                key.push(0xfe);
            }
        }
        key.extend_from_slice(self.separator(line, self.words.len()).as_bytes());
        key.push(u8::from(self.is_cut));
        let hash = xxh3_64_with_seed(&key, seed);
        self.key = key;
        hash
    }

    /// Equal for lines of one shape whose texts are equal, too.
    pub fn text_hash(&mut self, line: &str, shape_hash: u64) -> u64 {
        self.key.clear();
        self.key.extend_from_slice(&shape_hash.to_le_bytes());
        for word in &self.words {
            if word.kind == Kind::Text {
                self.key.extend_from_slice(&line.as_bytes()[word.start..word.end]);
            }
            self.key.push(0xff);
        }
        xxh3_64(&self.key)
    }
}

/// `key=` and `"key":`, for names that look like names: ids in such a place are values that somebody put there.
fn is_key(bytes: &[u8], start: usize, end: usize) -> bool {
    let names_a_value = match bytes.get(end..) {
        Some([b'=', next, ..]) => *next != b'=',
        Some([b'=']) => true,
        Some([b'"', b':', ..]) => start > 0 && bytes[start - 1] == b'"',
        _ => false,
    };
    names_a_value
        && !bytes[start].is_ascii_digit()
        && bytes[start..end].iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.@".contains(byte))
}

/// `<none>`: as a text it would read as a named capture where patterns are used.
fn is_bracketed(bytes: &[u8], start: usize, end: usize) -> bool {
    start > 0 && bytes[start - 1] == b'<' && bytes.get(end) == Some(&b'>')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words with `K`, `T` or `V` before them, separators between bars.
    fn show(line: &str) -> String {
        let mut words = Words::default();
        words.read(line);
        let mut text = words.separator(line, 0).to_owned();
        for (idx, word) in words.words.iter().enumerate() {
            let kind = match word.kind {
                Kind::Key => 'K',
                Kind::Text => 'T',
                Kind::Variable => 'V',
            };
            text += &format!("|{kind}{}|{}", &line[word.start..word.end], words.separator(line, idx + 1));
        }
        text
    }

    #[test]
    fn finds_words() {
        #[track_caller]
        fn check(line: &str, want: &str) {
            assert_eq!(show(line), want);
        }
        check("GET /sync 200", "|TGET| |T/sync| |V200|");
        check("level=info msg=\"a b\"", "|Klevel|=|Tinfo| |Kmsg|=\"|Ta| |Tb|\"");
        check("{\"level\":\"info\",\"n\":-1}", "{\"|Klevel|\":\"|Tinfo|\",\"|Kn|\":|V-1|}");
        check("error: x==y", "|Terror:| |Tx|==|Ty|");
        check("status <none> ok", "|Tstatus| <|Vnone|> |Tok|");
        check("/a?b=1", "|T/a?b|=|V1|");
        check("", "");
        check("  \u{1b}[0m", "  \u{1b}[|V0m|");
        check("grüße =", "|Tgrüße| =");
    }

    #[test]
    fn long_lines_are_cut() {
        let mut words = Words::default();
        words.read(&"a ".repeat(WORDS_MAX));
        assert!(!words.is_cut);
        words.read(&"a ".repeat(WORDS_MAX + 1));
        assert!(words.is_cut);
        assert_eq!(words.words.len(), WORDS_MAX);
    }

    #[test]
    fn hashes_tell_shapes_and_texts() {
        let hashes = |line: &str| {
            let mut words = Words::default();
            words.read(line);
            let shape = words.shape_hash(line, 7);
            (shape, words.text_hash(line, shape))
        };
        assert_eq!(hashes("a=1 x y"), hashes("a=2 x y"));
        assert_eq!(hashes("a=1 x y").0, hashes("a=1 x z").0);
        assert_ne!(hashes("a=1 x y").1, hashes("a=1 x z").1);
        assert_ne!(hashes("a=1 x y").0, hashes("b=1 x y").0);
        assert_ne!(hashes("a=1 x y").0, hashes("a=1 x  y").0);
    }
}
