//! An open part: what is kept in memory, and what is read when a query asks for it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use roaring::RoaringBitmap;
use tracing::error;

use super::format::{Footer, MAGIC_START, PartId, malformed, read_streams};
use crate::model::{Stream, TenantId, TimeRange};
use crate::storage::codec::{self, Block, BlockMeta, BlockReader, BlockSource, FilterIndex, TemplateDict};
use crate::storage::disk::{Disk, ReadFile};
use crate::storage::error::{Error, Result};
use crate::storage::streams::{Registry, StreamNo};
use crate::storage::wire::{Malformed, Reader};

/// A part, open for reading. Always in memory: streams and the block directory, about 50 bytes a block.
pub struct Part {
    /// Its id.
    pub id: PartId,
    /// Where it is.
    pub path: PathBuf,
    /// What it says about itself.
    pub footer: Footer,
    file: Arc<dyn ReadFile>,
    streams: Vec<PartStream>,
    blocks: Vec<BlockInfo>,
    tenants: HashMap<TenantId, PartTenant>,
    is_damaged: AtomicBool,
    /// What was read last, as long as anybody uses it: it may be too large for the cache.
    detail: Mutex<Weak<PartDetail>>,
}

/// A stream of a part.
pub struct PartStream {
    /// The stream.
    pub stream: Arc<Stream>,
    /// Its number in the tenant's index.
    pub number: StreamNo,
    /// Its blocks, ascending in time.
    pub blocks: std::ops::Range<usize>,
}

/// The streams that one tenant has in a part.
pub struct PartTenant {
    /// Their numbers.
    pub streams: RoaringBitmap,
    /// First and last timestamp.
    pub time: TimeRange,
    /// Numbers, ascending, and places in [`Part::streams`].
    by_number: Vec<(StreamNo, u32)>,
}

/// What a plan needs to know of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockInfo {
    /// Where it starts in the file.
    pub offset: u64,
    /// Rows.
    pub rows: u32,
    /// Bytes of their lines.
    pub line_bytes: u64,
    /// First and last timestamp.
    pub time: TimeRange,
}

/// What a reader needs to know of the blocks, loaded when a query first opens one.
pub struct PartDetail {
    /// By block.
    pub metas: Vec<BlockMeta>,
    /// Shared by the blocks.
    pub dict: TemplateDict,
    /// To skip blocks.
    pub filter: FilterIndex,
    /// Memory in use, about.
    bytes: u64,
}

impl Part {
    /// Opens a part and registers its streams.
    pub fn open(disk: &dyn Disk, path: &Path, id: PartId, registry: &Registry) -> Result<Arc<Self>> {
        let file = disk.open(path).map_err(Error::io("open", path))?;
        let mut magic = [0; MAGIC_START.len()];
        if file.len() < magic.len() as u64 {
            return Err(Error::damaged(path, "the file is too short for a part"));
        }
        file.read_exact_at(&mut magic, 0).map_err(Error::io("read", path))?;
        if magic != *MAGIC_START {
            return Err(Error::damaged(path, "the file does not start as a part"));
        }
        let footer = Footer::read(&*file, path)?;
        let directory = footer.frames.directory.read(&*file, path)?;
        let blocks = read_directory(&directory, &footer).map_err(malformed(path))?;
        let table = footer.frames.streams.read(&*file, path)?;
        let table = read_streams(&table).map_err(malformed(path))?;
        if table.iter().map(|entry| u64::from(entry.blocks)).sum::<u64>() != blocks.len() as u64 {
            return Err(Error::damaged(path, "streams and blocks do not add up"));
        }
        let mut streams = Vec::with_capacity(table.len());
        let mut tenants: HashMap<TenantId, PartTenant> = HashMap::new();
        let mut next_block = 0;
        for (idx, entry) in table.iter().enumerate() {
            let stream = registry.resolve(&entry.tenant, &entry.labels);
            let (number, stream) = registry.tenant(&entry.tenant).register(&stream);
            let own = next_block..next_block + entry.blocks as usize;
            next_block = own.end;
            let tenant = tenants.entry(entry.tenant.clone()).or_insert_with(|| PartTenant {
                streams: RoaringBitmap::new(),
                time: TimeRange { first_ns: i64::MAX, last_ns: i64::MIN },
                by_number: Vec::new(),
            });
            for block in &blocks[own.clone()] {
                tenant.time.first_ns = tenant.time.first_ns.min(block.time.first_ns);
                tenant.time.last_ns = tenant.time.last_ns.max(block.time.last_ns);
            }
            if !tenant.streams.insert(number) {
                return Err(Error::damaged(path, "a stream comes twice"));
            }
            tenant.by_number.push((number, idx as u32));
            streams.push(PartStream { stream, number, blocks: own });
        }
        for tenant in tenants.values_mut() {
            tenant.by_number.sort_unstable();
        }
        let (path, is_damaged, detail) = (path.to_owned(), AtomicBool::new(false), Mutex::default());
        Ok(Arc::new(Self { id, path, footer, file, streams, blocks, tenants, is_damaged, detail }))
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.file.len()
    }

    /// In the order of the file: by tenant and labels.
    pub fn streams(&self) -> &[PartStream] {
        &self.streams
    }

    /// In the order of the file.
    pub fn blocks(&self) -> &[BlockInfo] {
        &self.blocks
    }

    /// What `tenant` has in here.
    pub fn tenant(&self, tenant: &TenantId) -> Option<&PartTenant> {
        self.tenants.get(tenant)
    }

    /// Calls `found` with the streams of one tenant whose numbers are among `numbers`.
    pub fn each_stream(&self, tenant: &PartTenant, numbers: &RoaringBitmap, mut found: impl FnMut(&PartStream)) {
        if numbers.len() < tenant.streams.len() / 8 {
            for number in numbers {
                if let Ok(at) = tenant.by_number.binary_search_by_key(&number, |entry| entry.0) {
                    found(&self.streams[tenant.by_number[at].1 as usize]);
                }
            }
        } else {
            for &(number, idx) in &tenant.by_number {
                if numbers.contains(number) {
                    found(&self.streams[idx as usize]);
                }
            }
        }
    }

    /// The blocks of a stream that reach into `range`.
    pub fn blocks_in(&self, stream: &PartStream, range: TimeRange) -> std::ops::Range<usize> {
        let own = &self.blocks[stream.blocks.clone()];
        let start = own.partition_point(|block| block.time.last_ns < range.first_ns);
        let end = own.partition_point(|block| block.time.first_ns <= range.last_ns);
        stream.blocks.start + start..stream.blocks.start + end.max(start)
    }

    /// What a reader needs, from the cache or the file.
    pub fn detail(&self, caches: &Caches) -> Result<Arc<PartDetail>> {
        if let Some(detail) = caches.details.get(&self.id.0) {
            return Ok(detail);
        }
        // Others wait for the one that reads.
        let mut last = self.detail.lock();
        if let Some(detail) = last.upgrade() {
            return Ok(detail);
        }
        let detail = Arc::new(self.read_detail().inspect_err(|err| self.note_damage(err))?);
        *last = Arc::downgrade(&detail);
        caches.details.insert(self.id.0, detail.clone());
        Ok(detail)
    }

    /// The bytes.
    pub(super) fn file(&self) -> &dyn ReadFile {
        &*self.file
    }

    pub(super) fn read_detail(&self) -> Result<PartDetail> {
        let frames = &self.footer.frames;
        let metas_bytes = frames.metas.read(&*self.file, &self.path)?;
        let mut rest = &metas_bytes[..];
        let mut metas = Vec::with_capacity(self.blocks.len());
        for info in &self.blocks {
            let meta = BlockMeta::read(&mut rest).map_err(|err| self.codec_error(err))?;
            let end = info.offset.checked_add(meta.stored_bytes());
            let is_same = meta.rows == info.rows
                && meta.line_bytes == info.line_bytes
                && (meta.first_ns, meta.last_ns) == (info.time.first_ns, info.time.last_ns);
            if !is_same || end.is_none_or(|end| end > self.file.len()) {
                return Err(Error::damaged(&self.path, "block records and directory disagree"));
            }
            metas.push(meta);
        }
        let dict_bytes = frames.dict.read(&*self.file, &self.path)?;
        let dict = TemplateDict::read(&dict_bytes).map_err(|err| self.codec_error(err))?;
        let filter_bytes = frames.filter.read(&*self.file, &self.path)?;
        let filter = FilterIndex::read(&filter_bytes).map_err(|err| self.codec_error(err))?;
        let sections: usize = metas.iter().map(|meta| meta.sections.len()).sum();
        let bytes = sections * 32 + metas.len() * 64 + dict_bytes.len() * 4 + filter_bytes.len() * 2;
        Ok(PartDetail { metas, dict, filter, bytes: bytes as u64 })
    }

    /// Turns an error of the codec into ours, and remembers damage: the next merge keeps what is left.
    pub fn codec_error(&self, err: codec::Error) -> Error {
        let err = match err {
            codec::Error::Read { source, .. } => Error::io("read", &self.path)(source),
            other => Error::damaged(&self.path, other.to_string()),
        };
        self.note_damage(&err);
        err
    }

    fn note_damage(&self, err: &Error) {
        if err.is_damage() && !self.is_damaged.swap(true, Ordering::Relaxed) {
            error!(path = %self.path.display(), error = %err, "a part is damaged");
        }
    }

    /// A reader met damage in here.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// A reader of block `idx`.
    pub fn block(self: &Arc<Self>, idx: usize, caches: &Arc<Caches>) -> Result<BlockReader<PartBlock>> {
        let detail = self.detail(caches)?;
        let source = self.block_source(idx, caches);
        Ok(BlockReader::of(PartBlock { detail, source, idx }))
    }

    /// The bytes of block `idx`.
    pub(super) fn block_source(self: &Arc<Self>, idx: usize, caches: &Arc<Caches>) -> PartSource {
        PartSource { part: self.clone(), caches: caches.clone(), offset: self.blocks[idx].offset }
    }

    /// The filter rows, for [`FilterIndex::prune`].
    pub fn filter_rows(self: &Arc<Self>, caches: &Arc<Caches>) -> PartSource {
        PartSource { part: self.clone(), caches: caches.clone(), offset: self.footer.frames.filter_rows.offset }
    }
}

fn read_directory(bytes: &[u8], footer: &Footer) -> Result<Vec<BlockInfo>, Malformed> {
    let mut reader = Reader::new(bytes);
    let mut blocks = Vec::new();
    while !reader.rest().is_empty() {
        let (offset, rows, line_bytes) = (reader.varint()?, reader.varint_u32()?, reader.varint()?);
        let first_ns = reader.zigzag()?;
        let last_ns = first_ns.wrapping_add(reader.varint()? as i64);
        let time = TimeRange { first_ns, last_ns };
        if last_ns < first_ns || !footer.time.covers(&time) {
            return Err(Malformed("a block lies outside the part's time"));
        }
        blocks.push(BlockInfo { offset, rows, line_bytes, time });
    }
    if blocks.iter().map(|block| u64::from(block.rows)).sum::<u64>() != footer.rows {
        return Err(Malformed("blocks and footer count rows differently"));
    }
    Ok(blocks)
}

/// One block, as `codec` wants it.
pub struct PartBlock {
    detail: Arc<PartDetail>,
    source: PartSource,
    idx: usize,
}

impl Block for PartBlock {
    fn meta(&self) -> &BlockMeta {
        &self.detail.metas[self.idx]
    }

    fn dict(&self) -> &TemplateDict {
        &self.detail.dict
    }

    fn source(&self) -> &dyn BlockSource {
        &self.source
    }
}

/// Reads from a place in a part, through the cache.
pub struct PartSource {
    part: Arc<Part>,
    caches: Arc<Caches>,
    offset: u64,
}

impl BlockSource for PartSource {
    fn read(&self, offset: u64, len: usize) -> std::io::Result<Bytes> {
        let mut bytes = vec![0; len];
        self.part.file.read_exact_at(&mut bytes, self.offset + offset)?;
        Ok(Bytes::from(bytes))
    }

    fn cached(&self, offset: u64) -> Option<Bytes> {
        self.caches.sections.get(&(self.part.id.0, self.offset + offset))
    }

    fn cache(&self, offset: u64, section: &Bytes) {
        self.caches.sections.insert((self.part.id.0, self.offset + offset), section.clone());
    }

    fn cached_timestamps(&self, offset: u64) -> Option<Arc<Vec<i64>>> {
        self.caches.timestamps.get(&(self.part.id.0, self.offset + offset))
    }

    fn cache_timestamps(&self, offset: u64, timestamps: &Arc<Vec<i64>>) {
        self.caches.timestamps.insert((self.part.id.0, self.offset + offset), timestamps.clone());
    }
}

/// What readers share. Ids of parts are never reused, so nothing in here goes stale.
pub struct Caches {
    /// Unpacked sections by part and offset.
    sections: Cache<(u64, u64), Bytes, ByBytes>,
    /// Decoded timestamps by part and offset: every query over a block begins with them.
    timestamps: Cache<(u64, u64), Arc<Vec<i64>>, ByBytes>,
    /// Block records and dictionaries by part.
    details: Cache<u64, Arc<PartDetail>, ByBytes>,
}

impl Caches {
    /// Caches of `bytes` in all: half for sections, a quarter for timestamps, a quarter for records.
    pub fn new(bytes: u64) -> Arc<Self> {
        // Sections have tens of kilobytes on average; the number only sizes the hash table.
        let sections = Cache::with_weighter((bytes / (32 << 10)) as usize + 64, bytes / 2, ByBytes);
        // Half a megabyte for a full block.
        let timestamps = Cache::with_weighter((bytes / (1 << 20)) as usize + 64, bytes / 4, ByBytes);
        // One shard: records of a large part may need most of the room.
        let options = OptionsBuilder::new().estimated_items_capacity(256).weight_capacity(bytes / 4).shards(1).build();
        let options = options.expect("both capacities are set");
        let details = Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Arc::new(Self { sections, timestamps, details })
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.sections.weight() + self.timestamps.weight() + self.details.weight()
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<(u64, u64), Bytes> for ByBytes {
    fn weight(&self, _: &(u64, u64), bytes: &Bytes) -> u64 {
        bytes.len() as u64 + 64
    }
}

impl Weighter<(u64, u64), Arc<Vec<i64>>> for ByBytes {
    fn weight(&self, _: &(u64, u64), timestamps: &Arc<Vec<i64>>) -> u64 {
        (timestamps.len() * size_of::<i64>()) as u64 + 64
    }
}

impl Weighter<u64, Arc<PartDetail>> for ByBytes {
    fn weight(&self, _: &u64, detail: &Arc<PartDetail>) -> u64 {
        detail.bytes + 64
    }
}
