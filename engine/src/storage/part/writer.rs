//! Writes a part, stream by stream, front to back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::format::{Footer, Frame, Frames, MAGIC_START, PartId, StreamEntry, put_stream};
use super::{BlockInfo, CopySource, Day, Part, part_path};
use crate::model::{Rows, Stream, TimeRange};
use crate::storage::codec::{
    BLOCK_LINE_BYTES_MAX, BLOCK_ROWS_MAX, BlockEncoder, BlockFilter, BlockMeta, FilterIndexBuilder, Level, Original,
    TemplateDict,
};
use crate::storage::disk::{Disk, WriteFile};
use crate::storage::error::{Error, Result};
use crate::storage::options::BlockOptions;
use crate::storage::wire::{put_varint, put_zigzag};

/// Bytes that are collected before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// A part that is complete and durable.
#[derive(Debug, Clone)]
pub struct Written {
    /// Its id.
    pub id: PartId,
    /// Where it is.
    pub path: PathBuf,
    /// Length of the file.
    pub file_bytes: u64,
    /// What it says about itself.
    pub footer: Footer,
}

/// What is known of a part before its rows.
#[derive(Debug, Clone, Copy)]
pub struct NewPart {
    /// Its id.
    pub id: PartId,
    /// The day of all rows.
    pub day: Day,
    /// How to encode its blocks.
    pub level: Level,
    /// See [`Footer::generations`].
    pub generations: (u64, u64),
    /// Now.
    pub created_ns: i64,
    /// How to cut and compress them.
    pub blocks: BlockOptions,
}

/// See the module. Dropped before [`PartWriter::finish`], it leaves a temporary file that the next start removes.
pub struct PartWriter<'a> {
    disk: &'a dyn Disk,
    file: Box<dyn WriteFile>,
    tmp: PathBuf,
    path: PathBuf,
    new: NewPart,
    encoder: BlockEncoder,
    dict: TemplateDict,
    filters: FilterIndexBuilder,
    /// Encoded, not yet written.
    out: Vec<u8>,
    written_bytes: u64,
    streams: Vec<u8>,
    directory: Vec<u8>,
    metas: Vec<u8>,
    /// The open stream, its blocks so far, and rows that are not in a block yet.
    stream: Option<(Arc<Stream>, u32)>,
    rows: Rows,
    row_count: u64,
    line_bytes: u64,
    time: TimeRange,
}

impl<'a> PartWriter<'a> {
    /// Starts a part in `days_dir`, under a temporary name.
    pub fn create(disk: &'a dyn Disk, days_dir: &Path, new: NewPart) -> Result<Self> {
        let path = part_path(days_dir, new.day, new.id);
        let dir = path.parent().unwrap_or(days_dir);
        disk.create_dir_all(dir).map_err(Error::io("create", dir))?;
        disk.sync_dir(days_dir).map_err(Error::io("sync", days_dir))?;
        let tmp = path.with_extension("tmp");
        let file = disk.create(&tmp).map_err(Error::io("create", &tmp))?;
        Ok(Self {
            disk,
            file,
            tmp,
            path,
            new,
            encoder: BlockEncoder::new(new.level, new.blocks.zstd(new.level)),
            dict: TemplateDict::new(),
            filters: FilterIndexBuilder::default(),
            out: MAGIC_START.to_vec(),
            written_bytes: 0,
            streams: Vec::new(),
            directory: Vec::new(),
            metas: Vec::new(),
            stream: None,
            rows: Rows::default(),
            row_count: 0,
            line_bytes: 0,
            time: TimeRange { first_ns: i64::MAX, last_ns: i64::MIN },
        })
    }

    /// Starts the next stream. Streams come sorted by tenant and labels, each once.
    pub fn start_stream(&mut self, stream: &Arc<Stream>) -> Result<()> {
        self.end_stream()?;
        self.stream = Some((stream.clone(), 0));
        Ok(())
    }

    /// Appends rows to the open stream: sorted by time, not before the rows so far, without duplicates.
    pub fn append(&mut self, rows: &Rows) -> Result<()> {
        // Ids in `rows` to ids in ours, found as they come.
        let mut ids = vec![u32::MAX; rows.metadata.len()];
        let target = self.new.blocks.line_bytes(self.new.level);
        for row in 0..rows.len() {
            let (timestamp, line) = (rows.timestamps[row], rows.line(row));
            debug_assert!(Day::of(timestamp) == self.new.day, "all rows of a part are of its day");
            self.make_room(timestamp, line.len())?;
            if self.rows.is_empty() {
                ids.fill(u32::MAX);
            }
            let id = &mut ids[rows.metadata_ids[row] as usize];
            if *id == u32::MAX {
                *id = self.rows.metadata.intern(rows.metadata.get(rows.metadata_ids[row]).clone());
            }
            // Grown by doubling, it would be up to twice as large as blocks get. A block may go past the target, where rows
            // share a timestamp.
            let held = &mut self.rows.bytes;
            if held.capacity() - held.len() < line.len() && held.len() > target / 8 {
                held.reserve_exact(line.len().max(target.saturating_sub(held.len())).max(target / 8));
            }
            self.rows.push(timestamp, line, *id);
        }
        Ok(())
    }

    /// Closes the block if it is large enough, if possible where the timestamp changes: a scan then never has to look
    /// at two blocks for one timestamp.
    fn make_room(&mut self, timestamp: i64, line_bytes: usize) -> Result<()> {
        let Some(&last) = self.rows.timestamps.last() else { return Ok(()) };
        let target = self.new.blocks.line_bytes(self.new.level);
        let (rows, bytes) = (self.rows.len(), self.rows.bytes.len() + line_bytes);
        let is_large = rows >= self.new.blocks.rows || bytes > target;
        let must_close = rows >= BLOCK_ROWS_MAX || bytes > BLOCK_LINE_BYTES_MAX.min(target * 2);
        if must_close || (is_large && timestamp != last) { self.end_block() } else { Ok(()) }
    }

    /// True for a block of which encoding it again, with the rows around it, would gain little.
    pub fn is_worth_copying(&self, part: &Part, block: &BlockInfo) -> bool {
        let target = self.new.blocks.line_bytes(self.new.level) as u64;
        part.footer.level == self.new.level
            && (block.rows as usize >= self.new.blocks.rows / 2 || block.line_bytes >= target / 2)
    }

    fn end_block(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let offset = self.written_bytes + self.out.len() as u64;
        let encoded = self
            .encoder
            .encode(&self.rows, &mut self.dict, &mut self.out)
            .map_err(|err| Error::damaged(&self.tmp, err.to_string()))?;
        self.rows.clear();
        self.end_of_block(offset, &encoded.meta, encoded.filter)
    }

    /// Appends a block of another part to the open stream as it is: all of its rows, sorted by time, not before the rows so
    /// far, without duplicates. False, and nothing appended, if it cannot be: then its rows can be.
    ///
    /// # Errors
    /// When it cannot be read, or the part cannot be written.
    pub fn copy(&mut self, from: &mut CopySource, idx: usize) -> Result<bool> {
        let (bytes, filter) = match from.take(idx) {
            // Its rows may be fine all the same; if not, whoever reads them says so.
            Err(err) if err.is_damage() => return Ok(false),
            read => read?,
        };
        // What waits is earlier.
        self.end_block()?;
        let offset = self.written_bytes + self.out.len() as u64;
        let CopySource { part, detail, renumbering, .. } = from;
        let original = Original { meta: &detail.metas[idx], dict: &detail.dict, bytes };
        let copied = self.encoder.copy(&original, renumbering, &mut self.dict, &mut self.out);
        let meta = match copied.map_err(|err| part.codec_error(err)) {
            Err(err) if err.is_damage() => return Ok(false),
            copied => copied?,
        };
        let Some(meta) = meta else { return Ok(false) };
        self.end_of_block(offset, &meta, filter)?;
        Ok(true)
    }

    fn end_of_block(&mut self, offset: u64, meta: &BlockMeta, filter: BlockFilter) -> Result<()> {
        put_varint(&mut self.directory, offset);
        put_varint(&mut self.directory, u64::from(meta.rows));
        put_varint(&mut self.directory, meta.line_bytes);
        put_zigzag(&mut self.directory, meta.first_ns);
        put_varint(&mut self.directory, meta.last_ns.wrapping_sub(meta.first_ns) as u64);
        meta.write(&mut self.metas);
        self.row_count += u64::from(meta.rows);
        self.line_bytes += meta.line_bytes;
        self.time.first_ns = self.time.first_ns.min(meta.first_ns);
        self.time.last_ns = self.time.last_ns.max(meta.last_ns);
        self.filters.push(filter);
        if let Some((_, blocks)) = &mut self.stream {
            *blocks += 1;
        }
        if self.out.len() >= WRITE_BYTES {
            self.write_out()?;
        }
        Ok(())
    }

    fn end_stream(&mut self) -> Result<()> {
        self.end_block()?;
        if let Some((stream, blocks)) = self.stream.take().filter(|(_, blocks)| *blocks > 0) {
            let entry = StreamEntry { tenant: stream.tenant.clone(), labels: stream.labels.clone(), blocks };
            put_stream(&mut self.streams, &entry);
        }
        Ok(())
    }

    fn write_out(&mut self) -> Result<()> {
        self.file.append(&self.out).map_err(Error::io("append to", &self.tmp))?;
        self.written_bytes += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    fn put_frame(&mut self, raw: &[u8]) -> Frame {
        let (frame, stored) = Frame::pack(raw, self.written_bytes + self.out.len() as u64, self.new.level);
        self.out.extend_from_slice(&stored);
        frame
    }

    /// Writes the filter rows, and returns the header that leads to them, and where they are.
    fn put_filters(&mut self) -> Result<(Vec<u8>, Frame)> {
        self.write_out()?;
        let mut frame = Frame { offset: self.written_bytes, ..Frame::default() };
        let (mut header, mut hasher) = (Vec::new(), Xxh3::new());
        std::mem::take(&mut self.filters).finish(&mut header, |rows| {
            hasher.update(rows);
            self.file.append(rows).map_err(Error::io("append to", &self.tmp))?;
            self.written_bytes += rows.len() as u64;
            Ok(())
        })?;
        frame.stored_bytes = self.written_bytes - frame.offset;
        frame.raw_bytes = frame.stored_bytes;
        frame.checksum = hasher.digest();
        Ok((header, frame))
    }

    /// Completes the part, makes it durable and gives it its name. `None`, and no file, if there are no rows.
    pub fn finish(mut self) -> Result<Option<Written>> {
        self.end_stream()?;
        if self.row_count == 0 {
            drop(self.file);
            self.disk.remove(&self.tmp).map_err(Error::io("remove", &self.tmp))?;
            return Ok(None);
        }
        let (filter, filter_rows) = self.put_filters()?;
        let mut dict = Vec::new();
        self.dict.write(&mut dict);
        let [metas, directory, streams] = [&mut self.metas, &mut self.directory, &mut self.streams].map(std::mem::take);
        let frames = Frames {
            filter: self.put_frame(&filter),
            filter_rows,
            dict: self.put_frame(&dict),
            metas: self.put_frame(&metas),
            directory: self.put_frame(&directory),
            streams: self.put_frame(&streams),
        };
        let footer = Footer {
            day: self.new.day,
            level: self.new.level,
            generations: self.new.generations,
            rows: self.row_count,
            line_bytes: self.line_bytes,
            time: self.time,
            created_ns: self.new.created_ns,
            frames,
        };
        self.out.extend_from_slice(&footer.to_bytes());
        self.write_out()?;
        self.file.sync().map_err(Error::io("sync", &self.tmp))?;
        drop(self.file);
        self.disk.rename(&self.tmp, &self.path).map_err(Error::io("rename", &self.tmp))?;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        self.disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        Ok(Some(Written { id: self.new.id, path: self.path, file_bytes: self.written_bytes, footer }))
    }

    /// Gives up and removes the temporary file. Best effort: a start removes it too.
    pub fn abandon(self) {
        drop(self.file);
        let _ = self.disk.remove(&self.tmp);
    }
}
