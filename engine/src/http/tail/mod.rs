//! `tail`: lines as they come, over a websocket.
//!
//! What is wrong with the request itself is answered by HTTP; what a limit refuses, by a close frame with the reason,
//! as clients expect it.
//!
//! Source: contract http-api.md, 1.15 and 1.20.

mod frame;
mod session;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{FromRequest as _, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use logstack_go::units::parse_atoi;
use logstack_logql::ast::Expr;

use self::frame::Form;
use self::session::Session;
use super::app::{App, Read};
use super::query::{CATEGORIZE_LABELS, encoding_flags};
use super::{respond, tenancy};
use crate::query::{Error, parse};
use crate::tail::TailQuery;

/// Longest time that lines may be held back.
const DELAY_S_MAX: i64 = 5;

/// Clients send nothing but control frames.
const MESSAGE_BYTES_MAX: usize = 16 << 10;
/// Thousands of idle tails have one of these each.
const READ_BUFFER_BYTES: usize = 1 << 10;

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// `/loki/api/v1/tail`.
pub async fn tail(State(app): State<Arc<App>>, upgrade: Upgrade, request: Request) -> Response {
    open(app, upgrade, request, false).await
}

/// `/api/prom/tail`: the same in the frames of Loki 0.x.
pub async fn legacy(State(app): State<Arc<App>>, upgrade: Upgrade, request: Request) -> Response {
    open(app, upgrade, request, true).await
}

async fn open(app: Arc<App>, upgrade: Upgrade, request: Request, is_legacy: bool) -> Response {
    let read = match Read::from_request(request, &app).await {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    if read.caller.tenants.len() > 1 {
        return tenancy::Error::Several.into_response();
    }
    let session = match session(app, read, is_legacy) {
        Ok(session) => session,
        Err(error) => return error.into_response(),
    };
    match upgrade {
        Ok(upgrade) => upgrade
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(MESSAGE_BYTES_MAX)
            .on_upgrade(move |socket| session.run(socket)),
        Err(_) => {
            let mut response = respond::error(StatusCode::BAD_REQUEST, "Bad Request\n");
            response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            response
        }
    }
}

/// Reads the parameters.
fn session(app: Arc<App>, read: Read, is_legacy: bool) -> Result<Session, Error> {
    let text = read.params.get("query").unwrap_or_default().to_owned();
    let expr = parse(&text)?;
    let query = match &expr {
        Expr::Log(log) => Some(TailQuery::compile(log)?),
        // Refused by a close frame.
        Expr::Metric(_) | Expr::Variants(_) => None,
    };
    let delay_s = match read.params.get("delay_for") {
        Some(text) => parse_atoi(text).map_err(|error| Error::refused(error.to_string()))?,
        None => 0,
    };
    if delay_s > DELAY_S_MAX {
        return Err(Error::refused(format!("delay_for can't be greater than {DELAY_S_MAX}")));
    }
    let limit = read.params.limit()?;
    let start_ns = read.params.bounds(read.caller.now_ns)?.start_ns;
    let flags = if is_legacy { Vec::new() } else { encoding_flags(&read.headers) };
    let categorize = flags.iter().any(|flag| flag == CATEGORIZE_LABELS);
    Ok(Session {
        app,
        read,
        text,
        query,
        form: Form { flags, categorize, is_legacy },
        delay: Duration::from_secs(u64::try_from(delay_s).unwrap_or(0)),
        limit,
        start_ns,
    })
}
