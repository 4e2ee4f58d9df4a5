//! What there is to read at one moment: memtables and parts. Replaced as a whole, so that a reader sees a row either
//! in a memtable or in a part, never in both and never in none.

use std::sync::Arc;

use super::memtable::Memtable;

/// See the module. Immutable, but that the newest memtable grows.
#[derive(Clone, Default)]
pub struct View {
    /// Oldest first; the last one takes the appends.
    pub memtables: Vec<Arc<Memtable>>,
}
