//! The template dictionary of a part: what many lines share, stored once.
//!
//! A template is static text around variables: `piece[0] variable[0] piece[1] ... variable[n - 1] piece[n]`.
//!
//! ```text
//! record    := version:u8 raw_bytes zstd(body)                                 integers are LEB128
//! body      := count text_bytes (variable_count)* (piece_bytes)* (kind:u8 format:u8?)* text
//!              format only for times; piece_bytes and variables of all templates, one behind the other
//! ```
//!
//! Blocks name a template by its number; numbers count up in the order in which templates were added.

use std::sync::OnceLock;

use hashbrown::{HashMap, HashTable};

use super::error::{Error, Result, damaged};
use super::lines::charset::{Charset, Charsets};
use super::lines::clock::Format;
use super::lines::token::{Kind, hash_bytes};
use crate::storage::wire::{Reader, put_varint};

const VERSION: u8 = 1;
/// More templates than that are a sign of text without structure: lines of further ones are kept as they are.
const TEMPLATES_MAX: usize = 1 << 17;
/// Bounds the memory of a part's dictionary.
const TEXT_BYTES_MAX: usize = 32 << 20;
/// Bounds what a damaged record makes us allocate.
const RAW_BYTES_MAX: usize = 128 << 20;

/// What may stand at a variable's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Variable {
    pub(crate) kind: Kind,
    /// The id of a time's [`Format`], else 0.
    pub(crate) format: u8,
}

impl Variable {
    /// What its values are made of.
    pub(crate) fn charset(self) -> Charset {
        Charset::of(self.kind, self.format)
    }
}

/// Templates of the lines of one part, shared by its blocks. Grows while blocks are encoded; its record is written
/// into the part once, behind the last block.
#[derive(Debug, Default, Clone)]
pub struct TemplateDict {
    /// Pieces of all templates, one behind the other.
    text: Vec<u8>,
    /// Where pieces end in `text`: a template with n variables has n + 1.
    piece_ends: Vec<u32>,
    variables: Vec<Variable>,
    /// Where the variables of a template end in `variables`.
    variable_ends: Vec<u32>,
    /// Template numbers by hash; empty in a dictionary that was read, until something is added.
    numbers: HashTable<(u64, u32)>,
    /// Built by the first search.
    pieces: OnceLock<Pieces>,
}

/// The distinct pieces of all templates: punctuation between variables repeats a lot, so a search looks at each once, front
/// to back.
#[derive(Debug, Clone)]
pub(crate) struct Pieces {
    /// For each piece of each template, in order, its place in `ends`.
    pub(crate) ids: Vec<u32>,
    /// Where they end in `text` and `folded`.
    pub(crate) ends: Vec<u32>,
    /// One behind the other.
    pub(crate) text: Vec<u8>,
    /// The same in lower case (ASCII).
    pub(crate) folded: Vec<u8>,
    /// By template: what its variables are made of.
    pub(crate) charsets: Vec<Charsets>,
}

/// A borrowed template.
#[derive(Clone, Copy)]
pub(crate) struct Template<'a> {
    text: &'a [u8],
    /// Start of the first piece in `text`.
    start: u32,
    piece_ends: &'a [u32],
    pub(crate) variables: &'a [Variable],
}

impl<'a> Template<'a> {
    /// The text in front of variable `index`; behind the last one for `index == variables.len()`.
    pub(crate) fn piece(&self, index: usize) -> &'a [u8] {
        let start = if index == 0 { self.start } else { self.piece_ends[index - 1] };
        &self.text[start as usize..self.piece_ends[index] as usize]
    }

    fn hash(&self) -> u64 {
        let mut hash = 0;
        for index in 0..self.piece_ends.len() {
            hash = combine(hash, hash_bytes(self.piece(index)));
        }
        for variable in self.variables {
            hash = combine(hash, variable.kind as u64 | u64::from(variable.format) << 8);
        }
        hash
    }

    fn equals(&self, other: &Template<'_>) -> bool {
        self.variables == other.variables
            && (0..self.piece_ends.len()).all(|index| self.piece(index) == other.piece(index))
    }
}

fn combine(hash: u64, value: u64) -> u64 {
    (hash.rotate_left(5) ^ value).wrapping_mul(0x517C_C1B7_2722_0A95)
}

impl TemplateDict {
    /// A dictionary without templates.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of templates.
    pub fn len(&self) -> usize {
        self.variable_ends.len()
    }

    /// True without templates.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The template `number`, if there is one.
    pub(crate) fn get(&self, number: usize) -> Option<Template<'_>> {
        if number >= self.len() {
            return None;
        }
        let first_piece = self.first_piece(number);
        Some(Template {
            text: &self.text,
            start: if first_piece == 0 { 0 } else { self.piece_ends[first_piece - 1] },
            piece_ends: &self.piece_ends[first_piece..self.first_piece(number + 1)],
            variables: self.variables(number),
        })
    }

    /// The number of the template, added if new; `None` when the dictionary is full. `text` is all pieces, one behind
    /// the other, `piece_ends` where they end.
    pub(crate) fn intern(&mut self, text: &[u8], piece_ends: &[u32], variables: &[Variable]) -> Option<u32> {
        debug_assert_eq!(piece_ends.len(), variables.len() + 1);
        if self.numbers.is_empty() && !self.is_empty() {
            for number in 0..self.len() {
                let hash = self.get(number)?.hash();
                self.numbers.insert_unique(hash, (hash, number as u32), |entry| entry.0);
            }
        }
        let template = Template { text, start: 0, piece_ends, variables };
        let hash = template.hash();
        let found = self.numbers.find(hash, |&(known, number)| {
            known == hash && self.get(number as usize).is_some_and(|known| known.equals(&template))
        });
        if let Some(&(_, number)) = found {
            return Some(number);
        }
        if self.len() >= TEMPLATES_MAX || self.text.len() + text.len() > TEXT_BYTES_MAX {
            return None;
        }
        self.pieces = OnceLock::new();
        let base = self.text.len() as u32;
        self.text.extend_from_slice(text);
        self.piece_ends.extend(piece_ends.iter().map(|end| base + end));
        self.variables.extend_from_slice(variables);
        self.variable_ends.push(self.variables.len() as u32);
        let number = self.len() as u32 - 1;
        self.numbers.insert_unique(hash, (hash, number), |entry| entry.0);
        Some(number)
    }

    /// The number here of a template of another dictionary, added if new; `None` when this one is full.
    pub(super) fn adopt(&mut self, other: &Template<'_>) -> Option<u32> {
        let end = other.piece_ends.last().map_or(other.start, |&end| end);
        let ends: Vec<u32> = other.piece_ends.iter().map(|piece| piece - other.start).collect();
        self.intern(&other.text[other.start as usize..end as usize], &ends, other.variables)
    }

    /// The distinct pieces; kept once built.
    pub(crate) fn pieces(&self) -> &Pieces {
        self.pieces.get_or_init(|| {
            let mut numbers: HashMap<&[u8], u32> = HashMap::new();
            let mut pieces = Pieces {
                ids: Vec::with_capacity(self.piece_ends.len()),
                ends: Vec::new(),
                text: Vec::new(),
                folded: Vec::new(),
                charsets: Vec::with_capacity(self.len()),
            };
            let mut start = 0;
            for &end in &self.piece_ends {
                let piece = &self.text[start as usize..end as usize];
                let new = pieces.ends.len() as u32;
                let id = *numbers.entry(piece).or_insert(new);
                if id == new {
                    pieces.text.extend_from_slice(piece);
                    pieces.ends.push(pieces.text.len() as u32);
                }
                pieces.ids.push(id);
                start = end;
            }
            pieces.folded = pieces.text.to_ascii_lowercase();
            let charsets = |all: Charsets, variable: &Variable| all.with(variable.charset());
            pieces.charsets.extend(
                (0..self.len()).map(|number| self.variables(number).iter().fold(Charsets::default(), charsets)),
            );
            pieces
        })
    }

    /// Where the variables of template `number` begin.
    fn first_variable(&self, number: usize) -> usize {
        if number == 0 { 0 } else { self.variable_ends[number - 1] as usize }
    }

    /// The variables of template `number`.
    pub(crate) fn variables(&self, number: usize) -> &[Variable] {
        &self.variables[self.first_variable(number)..self.first_variable(number + 1)]
    }

    /// Where the pieces of template `number` begin in [`Pieces::ids`]: every template before has one more than variables.
    pub(crate) fn first_piece(&self, number: usize) -> usize {
        number + self.first_variable(number)
    }

    /// Appends the record.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(self.text.len() + self.piece_ends.len() * 3);
        put_varint(&mut body, self.len() as u64);
        put_varint(&mut body, self.text.len() as u64);
        put_differences(&mut body, &self.variable_ends);
        put_differences(&mut body, &self.piece_ends);
        for variable in &self.variables {
            body.push(variable.kind as u8);
            if variable.kind == Kind::Time {
                body.push(variable.format);
            }
        }
        body.extend_from_slice(&self.text);
        out.push(VERSION);
        put_varint(out, body.len() as u64);
        // Small and read once: worth a high level. Compressing to memory fails only without memory.
        let packed = zstd::bulk::compress(&body, 12).expect("zstd compresses to memory");
        out.extend_from_slice(&packed);
    }

    /// Reads a whole record.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Unknown`].
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(Error::Unknown { what: "template dictionary version", id: version });
        }
        let raw_bytes = reader.size(RAW_BYTES_MAX)?;
        let body = zstd::bulk::decompress(reader.rest(), raw_bytes)
            .map_err(|_| damaged("template dictionary does not decompress"))?;
        let mut reader = Reader::new(&body);
        let count = reader.size(TEMPLATES_MAX)?;
        let text_bytes = reader.size(body.len())?;
        let variable_ends = take_differences(&mut reader, count)?;
        let variable_count = variable_ends.last().map_or(0, |&end| end as usize);
        let piece_ends = take_differences(&mut reader, variable_count + count)?;
        if piece_ends.last().map_or(0, |&end| end as usize) != text_bytes {
            return Err(damaged("template texts are missing"));
        }
        let mut variables = Vec::with_capacity(variable_count);
        for _ in 0..variable_count {
            let id = reader.u8()?;
            let kind = Kind::from_id(id).ok_or(Error::Unknown { what: "variable kind", id })?;
            let format = if kind == Kind::Time { reader.u8()? } else { 0 };
            if kind == Kind::Time && Format::from_id(format).is_none() {
                return Err(Error::Unknown { what: "time format", id: format });
            }
            variables.push(Variable { kind, format });
        }
        let text = reader.rest().to_vec();
        if text.len() != text_bytes {
            return Err(damaged("template texts are missing"));
        }
        Ok(Self { text, piece_ends, variables, variable_ends, ..Self::default() })
    }
}

fn put_differences(out: &mut Vec<u8>, ends: &[u32]) {
    let mut last = 0;
    for &end in ends {
        put_varint(out, u64::from(end - last));
        last = end;
    }
}

fn take_differences(reader: &mut Reader<'_>, count: usize) -> Result<Vec<u32>> {
    // A difference takes a byte at least, so a wild count fails before it allocates.
    if count > reader.rest().len() {
        return Err(damaged("record ends early"));
    }
    let mut ends = Vec::with_capacity(count);
    let mut last = 0_u32;
    for _ in 0..count {
        last = last.checked_add(reader.varint_u32()?).ok_or(damaged("template is too long"))?;
        ends.push(last);
    }
    Ok(ends)
}
