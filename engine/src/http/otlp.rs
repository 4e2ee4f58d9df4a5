//! `POST /otlp/v1/logs`: OTLP over HTTP.
//!
//! Errors are a protobuf `google.rpc.Status`, whatever the request was in, as Loki answers them. 500 becomes 503, the
//! only one of the two on which collectors try again.
//!
//! Source: OTLP specification, "OTLP/HTTP Response".

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::push::{PushApp, Refusal, receive, status, with_retry};
use crate::ingest::Route;

/// Longest message: collectors log it.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Takes log records.
pub(super) async fn logs(State(app): State<Arc<PushApp>>, request: Request) -> Response {
    match receive(&app, Route::Otlp, request).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(Refusal::Tenancy(error)) => error.into_response(),
        Err(Refusal::Push(error)) => {
            let status = if error.status == 500 { StatusCode::SERVICE_UNAVAILABLE } else { status(error.status) };
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
                (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            ];
            with_retry((status, headers, encode_status(&error.text)).into_response())
        }
    }
}

/// `google.rpc.Status { message }`: field 2, a string.
fn encode_status(message: &str) -> Vec<u8> {
    let mut end = message.len().min(MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = vec![0x12];
    let mut len = end;
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(&message.as_bytes()[..end]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::decode::proto::{Fields, Value};

    #[test]
    fn encodes_a_status() {
        for len in [0, 5, 127, 128, 20_000] {
            let message = "é".repeat(len);
            let bytes = encode_status(&message);
            let mut fields = Fields::new(&bytes);
            let Ok(Some((2, Value::Bytes(text)))) = fields.next_field() else { panic!("{bytes:?}") };
            assert!(text.len() <= MESSAGE_BYTES_MAX && message.as_bytes().starts_with(text));
            assert_eq!(fields.next_field(), Ok(None));
        }
    }
}
