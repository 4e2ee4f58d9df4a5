//! What a WAL record says: the rows of one append, in columns, compressed.
//!
//! ```text
//! payload := encoding:u8 body
//! encoding 1: body := raw_len:u32le lz4(raw)
//! raw     := stream_count stream* set_count set* timestamp* length* set_id* bytes
//! stream  := tenant pair_count (name value)* row_count        rows of a stream are adjacent
//! set     := pair_count (name value)*                         metadata sets from id 1 on; 0 is the empty set
//! ```
//!
//! Numbers are varints; timestamps are differences to the one before; set ids are left out if `set_count` is 0. A
//! record names its streams by their labels and needs nothing else to be read: losing another record loses no more
//! than its rows.

use std::sync::Arc;

use logstack_logql::Labels;

use crate::model::{Batch, BatchStream, MetadataSet, Stream, StreamId, TenantId};
use crate::storage::wire::{Malformed, Reader, put_bytes, put_varint, put_zigzag};

const ENCODING_LZ4: u8 = 1;

/// Largest uncompressed record. Far above any request limit; it bounds what replay allocates.
pub const RAW_BYTES_MAX: usize = 1 << 30;

/// Appends the payload of `batch` to `out`, or says how large it would be.
pub fn encode(batch: &Batch, out: &mut Vec<u8>) -> Result<(), usize> {
    let rows = &batch.rows;
    let mut raw = Vec::with_capacity(rows.bytes.len() + rows.len() * 8 + batch.streams.len() * 256 + 64);
    put_varint(&mut raw, batch.streams.len() as u64);
    for part in &batch.streams {
        put_bytes(&mut raw, part.stream.tenant.as_str().as_bytes());
        put_varint(&mut raw, part.stream.labels.len() as u64);
        for (name, value) in part.stream.labels.iter() {
            put_bytes(&mut raw, name.as_bytes());
            put_bytes(&mut raw, value.as_bytes());
        }
        put_varint(&mut raw, part.rows.len() as u64);
    }
    let sets = rows.metadata.len() - 1;
    put_varint(&mut raw, sets as u64);
    for set in rows.metadata.iter().skip(1) {
        put_varint(&mut raw, set.len() as u64);
        for (name, value) in set {
            put_bytes(&mut raw, name.as_bytes());
            put_bytes(&mut raw, value.as_bytes());
        }
    }
    let mut previous = 0i64;
    for &timestamp in &rows.timestamps {
        put_zigzag(&mut raw, timestamp.wrapping_sub(previous));
        previous = timestamp;
    }
    let mut start = 0;
    for &end in &rows.ends {
        put_varint(&mut raw, u64::from(end - start));
        start = end;
    }
    if sets > 0 {
        for &id in &rows.metadata_ids {
            put_varint(&mut raw, u64::from(id));
        }
    }
    raw.extend_from_slice(&rows.bytes);
    if raw.len() > RAW_BYTES_MAX {
        return Err(raw.len());
    }
    out.push(ENCODING_LZ4);
    out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
    let start = out.len();
    out.resize(start + lz4_flex::block::get_maximum_output_size(raw.len()), 0);
    let len = lz4_flex::block::compress_into(&raw, &mut out[start..]).expect("the buffer has the maximum size");
    out.truncate(start + len);
    Ok(())
}

/// Reads a payload back. `stream` turns tenant and labels into the stream that the process shares.
pub fn decode(payload: &[u8], mut stream: impl FnMut(TenantId, Labels) -> Arc<Stream>) -> Result<Batch, Malformed> {
    let mut reader = Reader::new(payload);
    if reader.u8()? != ENCODING_LZ4 {
        return Err(Malformed("unknown record encoding"));
    }
    let raw_len = reader.u32_le()? as usize;
    if raw_len > RAW_BYTES_MAX {
        return Err(Malformed("record is too large"));
    }
    let raw = lz4_flex::block::decompress(reader.rest(), raw_len).map_err(|_| Malformed("lz4 does not decode"))?;
    let mut reader = Reader::new(&raw);
    let mut batch = Batch::default();
    let mut row_count = 0usize;
    for _ in 0..reader.count()? {
        let tenant = TenantId::new(reader.str()?);
        let pairs = read_pairs(&mut reader)?;
        let rows = reader.count()?;
        let stream = stream(tenant, Labels::from_pairs(pairs));
        batch.streams.push(BatchStream { stream, rows: row_count..row_count + rows });
        row_count = row_count.checked_add(rows).ok_or(Malformed("too many rows"))?;
    }
    if row_count > reader.rest().len() {
        return Err(Malformed("a count exceeds the bytes"));
    }
    let rows = &mut batch.rows;
    let sets = reader.count()?;
    for _ in 0..sets {
        let set: MetadataSet =
            read_pairs(&mut reader)?.into_iter().map(|(n, v)| (Arc::from(n), Arc::from(v))).collect();
        if !set.windows(2).all(|w| w[0].0 < w[1].0) {
            return Err(Malformed("metadata is not sorted"));
        }
        rows.metadata.intern(set);
    }
    if rows.metadata.len() != sets + 1 {
        return Err(Malformed("a metadata set comes twice"));
    }
    let mut previous = 0i64;
    for _ in 0..row_count {
        previous = previous.wrapping_add(reader.zigzag()?);
        rows.timestamps.push(previous);
    }
    let mut end = 0u32;
    for _ in 0..row_count {
        end = end.checked_add(reader.varint_u32()?).ok_or(Malformed("lines exceed 4 GiB"))?;
        rows.ends.push(end);
    }
    if sets == 0 {
        rows.metadata_ids.resize(row_count, 0);
    } else {
        for _ in 0..row_count {
            let id = reader.varint_u32()?;
            if id as usize > sets {
                return Err(Malformed("a row names a missing metadata set"));
            }
            rows.metadata_ids.push(id);
        }
    }
    rows.bytes.extend_from_slice(reader.take(end as usize)?);
    reader.finish()?;
    Ok(batch)
}

fn read_pairs<'a>(reader: &mut Reader<'a>) -> Result<Vec<(&'a str, &'a str)>, Malformed> {
    let count = reader.count()?;
    (0..count).map(|_| Ok((reader.str()?, reader.str()?))).collect()
}

/// A new stream for what replay reads, when nobody shares streams.
pub fn detached_stream(tenant: TenantId, labels: Labels) -> Arc<Stream> {
    Arc::new(Stream { id: StreamId::of(&tenant, &labels), tenant, labels })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::{BatchSpec, batch_specs};
    use proptest::prelude::*;

    fn encoded(batch: &Batch) -> Vec<u8> {
        let mut out = Vec::new();
        encode(batch, &mut out).unwrap();
        out
    }

    proptest! {
        #[test]
        fn batches_come_back(spec in batch_specs()) {
            let batch = spec.build();
            let back = decode(&encoded(&batch), detached_stream).unwrap();
            prop_assert_eq!(BatchSpec::of(&back), spec);
        }

        #[test]
        fn any_bytes_are_an_error_at_worst(mut bytes: Vec<u8>, spec in batch_specs(), at: prop::sample::Index) {
            let _ = decode(&bytes, detached_stream);
            bytes = encoded(&spec.build());
            let at = at.index(bytes.len());
            bytes[at] ^= 0x11;
            let _ = decode(&bytes, detached_stream);
        }
    }
}
