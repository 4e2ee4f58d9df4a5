//! Label sets of entries, each kept once: most entries of an answer share a handful.

use std::sync::Arc;

use hashbrown::HashMap;
use logstack_logql::Labels;
use logstack_logql::pipeline::{Category, Output};
use xxhash_rust::xxh3::xxh3_64;

use crate::query::request::ExtraLabels;

/// What a label set costs beside its text.
const SET_BYTES: u64 = 200;

/// The labels of an entry as the answer shows them.
#[derive(Debug)]
pub struct LineLabels {
    /// Those of the result stream.
    pub shown: Labels,
    /// With `categorize-labels`, the others.
    pub extra: Arc<ExtraLabels>,
    /// Of names, values and, where they matter, categories.
    pub hash: u64,
}

/// One thread's label sets.
pub struct LabelCache {
    categorize: bool,
    sets: HashMap<Box<[u8]>, Arc<LineLabels>>,
    bytes: u64,
    key: Vec<u8>,
    /// Of the present chunk: label sets by metadata set, for lines whose labels no stage touched.
    untouched: Vec<Option<Arc<LineLabels>>>,
}

impl LabelCache {
    /// `categorize`: the result stream shows stream labels only.
    pub fn new(categorize: bool) -> Self {
        Self { categorize, sets: HashMap::new(), bytes: 0, key: Vec::new(), untouched: Vec::new() }
    }

    /// A chunk of one stream begins, with that many metadata sets.
    pub fn begin_chunk(&mut self, metadata_sets: usize) {
        self.untouched.clear();
        self.untouched.resize(metadata_sets, None);
    }

    /// The labels of `output`, whose entry has metadata set `metadata_id` of the present chunk.
    pub fn of(&mut self, output: &Output<'_>, metadata_id: u32) -> Arc<LineLabels> {
        if !output.labels_unchanged() {
            return self.intern(output);
        }
        if let Some(labels) = &self.untouched[metadata_id as usize] {
            return labels.clone();
        }
        let labels = self.intern(output);
        self.untouched[metadata_id as usize] = Some(labels.clone());
        labels
    }

    /// Bytes that the sets hold.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn intern(&mut self, output: &Output<'_>) -> Arc<LineLabels> {
        self.key.clear();
        for (name, value, category) in output.labels() {
            // Lengths in front: no text can look like two.
            self.key.extend_from_slice(&(name.len() as u32).to_le_bytes());
            self.key.extend_from_slice(&(value.len() as u32).to_le_bytes());
            self.key.push(if self.categorize { category as u8 } else { 0 });
            self.key.extend_from_slice(name.as_bytes());
            self.key.extend_from_slice(value.as_bytes());
        }
        if let Some(labels) = self.sets.get(self.key.as_slice()) {
            return labels.clone();
        }
        let is_shown = |category| !self.categorize || category == Category::Stream;
        let of = |wanted: Category| {
            let labels = output.labels().filter(|label| label.2 == wanted && self.categorize);
            labels.map(|(name, value, _)| (name.into(), value.into())).collect()
        };
        let labels = Arc::new(LineLabels {
            shown: Labels::from_pairs(output.labels().filter(|label| is_shown(label.2)).map(|(n, v, _)| (n, v))),
            extra: Arc::new(ExtraLabels { metadata: of(Category::Metadata), parsed: of(Category::Parsed) }),
            hash: xxh3_64(&self.key),
        });
        self.bytes += SET_BYTES + 2 * self.key.len() as u64;
        self.sets.insert(self.key.as_slice().into(), labels.clone());
        labels
    }
}
