//! Request bodies of pushes, as sent: within the size limit, the memory of all pushes, and a time.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;

use crate::ingest::budget::Share;
use crate::ingest::{Ingester, PushError, decode};

/// What is made of a byte of a packed body, about: the body itself, its unpacked form, its batch.
///
/// Taken at once, while the request holds nothing and may wait for others; what a better packed body needs beyond
/// this is taken later, without waiting.
const FACTOR: usize = 4;

/// Most bytes that are read only to be thrown away, and for how long.
const DRAIN_BYTES_MAX: usize = 128 << 20;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// Largest step that a body without a stated length grows by.
const STEP_BYTES_MAX: usize = 1 << 20;

/// A body, and the memory that it and what is made of it may take.
#[derive(Debug)]
pub struct PushBody {
    /// As sent.
    pub bytes: Vec<u8>,
    /// Pays for `bytes` and for what is made of them.
    pub share: Share,
}

/// Reads a body.
///
/// # Errors
/// 413 when it is larger than may be sent, 503 when there is no memory for it now, 408 when it takes too long, 400
/// when the connection ends within it.
pub async fn read(ingester: &Ingester, headers: &HeaderMap, body: &mut Body) -> Result<PushBody, PushError> {
    let options = ingester.options();
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if let Some(bytes) = stated.filter(|&bytes| bytes > options.body_bytes_max) {
        return Err(too_large(bytes, options.body_bytes_max));
    }
    // A stated length is granted as a whole before anything is read; half-read bodies would only block each other.
    let wanted = stated.unwrap_or(0).saturating_mul(FACTOR).min(options.in_flight_bytes_max);
    let share = ingester.budget().reserve(wanted, options.patience).await?;
    let reading = read_all(body, stated, options.body_bytes_max, share);
    match tokio::time::timeout(options.read_timeout, reading).await {
        Ok(done) => done,
        Err(_) => Err(PushError::new(408, "the request body took too long to arrive")),
    }
}

async fn read_all(
    body: &mut Body,
    stated: Option<usize>,
    bytes_max: usize,
    mut share: Share,
) -> Result<PushBody, PushError> {
    let mut bytes = Vec::new();
    if let Some(stated) = stated {
        share.grow(stated)?;
        bytes.reserve_exact(stated);
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| PushError::new(400, format!("cannot read the request body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let len = bytes.len() + data.len();
        if len > bytes_max {
            return Err(too_large(len, bytes_max));
        }
        if len > bytes.capacity() {
            let step = bytes.capacity().min(STEP_BYTES_MAX).max(data.len());
            share.grow(step)?;
            bytes.reserve_exact(step);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(PushBody { bytes, share })
}

/// Reads the rest of a refused request and forgets it. A client that still sends would otherwise see its connection
/// reset instead of the refusal, and send the same again for ever.
pub async fn drain(body: &mut Body) {
    let reading = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, |data| data.len());
            if read > DRAIN_BYTES_MAX {
                return;
            }
        }
    };
    // Past the time the connection is reset after all.
    let _ = tokio::time::timeout(DRAIN_TIME_MAX, reading).await;
}

fn too_large(bytes: usize, limit_bytes: usize) -> PushError {
    decode::Error::TooLarge { bytes: bytes as u64, limit_bytes: limit_bytes as u64 }.into()
}
