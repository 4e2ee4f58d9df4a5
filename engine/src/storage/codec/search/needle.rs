//! A needle, prepared for comparing it with template pieces and with what variables can hold.

use logstack_logql::line_filter::Needle;
use memchr::memmem::Finder;

use super::super::lines::charset::{CHARSETS, Charset, Charsets};

/// Bytes of a needle that take part in matching templates: positions are bits of a word. What is behind them is checked
/// on rendered lines.
pub(crate) const NEEDLE_BYTES_MAX: usize = 63;

/// A needle of a query.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    /// As searched: in lower case if case is ignored.
    pub(crate) bytes: Box<[u8]>,
    pub(crate) ignore_case: bool,
    pub(crate) finder: Finder<'static>,
    /// Of each charset and position, where the run of its bytes ends.
    runs: [[u8; NEEDLE_BYTES_MAX + 1]; CHARSETS],
    /// The charsets that have all of its bytes.
    pub(crate) charsets: Charsets,
    /// Of each byte, where the needle has it: bits.
    places: Box<[u64; 256]>,
}

impl Pattern {
    /// `None` for more than [`NEEDLE_BYTES_MAX`] bytes.
    pub(crate) fn new(needle: &Needle) -> Option<Self> {
        let len = needle.bytes.len();
        if len == 0 || len > NEEDLE_BYTES_MAX {
            return None;
        }
        let bytes: Box<[u8]> =
            if needle.ignore_case { needle.bytes.to_ascii_lowercase().into() } else { needle.bytes.clone() };
        let mut runs = [[0; NEEDLE_BYTES_MAX + 1]; CHARSETS];
        for charset in Charset::ALL {
            for (at, end) in runs[charset as usize].iter_mut().enumerate().take(len + 1) {
                *end = charset.run_end(&bytes, at, needle.ignore_case) as u8;
            }
        }
        let fitting = Charset::ALL.into_iter().filter(|charset| usize::from(runs[*charset as usize][0]) == len);
        let charsets = fitting.fold(Charsets::default(), |charsets, charset| charsets.with(charset));
        let mut places = Box::new([0; 256]);
        bytes.iter().enumerate().for_each(|(at, &byte)| places[usize::from(byte)] |= 1 << at);
        let finder = Finder::new(&bytes).into_owned();
        Some(Self { bytes, ignore_case: needle.ignore_case, finder, runs, charsets, places })
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Where the bytes of `charset` from `at` on end; `at` itself if there is none.
    #[inline]
    pub(crate) fn run_end(&self, charset: Charset, at: usize) -> usize {
        usize::from(self.runs[charset as usize][at])
    }

    /// Where it has `byte`: bit `p` for position `p`.
    #[inline]
    pub(crate) fn places(&self, byte: u8) -> u64 {
        self.places[usize::from(byte)]
    }

    /// True when all of it is of `charset`.
    #[inline]
    pub(crate) fn fits(&self, charset: Charset) -> bool {
        self.charsets.has(charset)
    }

    /// True when `text` equals `bytes[from..to]`.
    #[inline]
    pub(crate) fn equals(&self, from: usize, to: usize, text: &[u8]) -> bool {
        let part = &self.bytes[from..to];
        if self.ignore_case { part.eq_ignore_ascii_case(text) } else { part == text }
    }

    /// True when `text` contains it.
    pub(crate) fn is_in(&self, text: &[u8], scratch: &mut Vec<u8>) -> bool {
        if text.len() < self.len() {
            return false;
        }
        if !self.ignore_case {
            return self.finder.find(text).is_some();
        }
        scratch.clear();
        scratch.extend(text.iter().map(u8::to_ascii_lowercase));
        self.finder.find(scratch).is_some()
    }
}

/// The bits `from..=to`.
pub(crate) fn positions(from: usize, to: usize) -> u64 {
    if to < from { 0 } else { (!0 >> (63 - to)) & (!0 << from) }
}

/// The places of the bits of `set`, ascending.
pub(crate) fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = (set != 0).then(|| set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(at)
    })
}
