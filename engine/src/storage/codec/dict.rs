//! The template dictionary of a part: texts that many lines share, stored once.

use super::error::{Error, Result};
use super::wire::Reader;

const VERSION: u8 = 1;

/// Templates of the lines of one part, shared by its blocks. Grows while blocks are encoded; its record is written
/// into the part once, behind the last block.
#[derive(Debug, Default, Clone)]
pub struct TemplateDict {}

impl TemplateDict {
    /// A dictionary without templates.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of templates.
    pub fn len(&self) -> usize {
        0
    }

    /// True without templates.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the record.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
    }

    /// Reads a whole record.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Unknown`].
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let version = Reader::new(bytes).u8()?;
        if version != VERSION {
            return Err(Error::Unknown { what: "template dictionary version", id: version });
        }
        Ok(Self::default())
    }
}
