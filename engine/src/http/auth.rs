//! Who may connect: `logstack.auth`. Checked before anything else of a request is looked at; `/ready` and `/metrics`
//! stay open, because kubelets and Prometheus ask them.
//!
//! The credentials file has a line per user (`user:password` for `basic`) or per token (`bearer`); empty lines and lines
//! that begin with `#` are skipped. It is read again when it changes, so that a rotated Secret needs no restart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use logstack_config::engine::{AuthConfig, AuthKind};
use parking_lot::Mutex;
use tracing::{error, info};

use super::app::App;
use super::respond;

/// How often the file is looked at, at most.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// See the module's head.
pub struct Auth {
    kind: AuthKind,
    file: Option<PathBuf>,
    accepted: Mutex<Accepted>,
}

/// The values of `Authorization` that are let in, without their scheme.
#[derive(Default)]
struct Accepted {
    values: Vec<String>,
    stamp: Option<(SystemTime, u64)>,
    looked: Option<Instant>,
}

impl Auth {
    /// Reads the credentials.
    ///
    /// # Errors
    /// When they are needed and cannot be read: an engine that lets nobody in, or everybody, helps nobody.
    pub fn new(config: &AuthConfig) -> io::Result<Self> {
        let auth = Self { kind: config.kind, file: config.credentials_file.clone(), accepted: Mutex::default() };
        if auth.kind == AuthKind::None {
            return Ok(auth);
        }
        let Some(file) = &auth.file else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "`logstack.auth.credentials_file` is not set"));
        };
        let accepted = Accepted { values: auth.read(file)?, stamp: stamp(file), looked: Some(Instant::now()) };
        *auth.accepted.lock() = accepted;
        Ok(auth)
    }

    fn scheme(&self) -> &'static str {
        match self.kind {
            AuthKind::Basic => "Basic",
            AuthKind::None | AuthKind::Bearer => "Bearer",
        }
    }

    fn read(&self, file: &Path) -> io::Result<Vec<String>> {
        let text = std::fs::read_to_string(file)?;
        let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(match self.kind {
            AuthKind::Basic => lines.map(|line| base64(line.as_bytes())).collect(),
            AuthKind::None | AuthKind::Bearer => lines.map(str::to_owned).collect(),
        })
    }

    /// True when the request may go on.
    fn admits(&self, headers: &HeaderMap) -> bool {
        if self.kind == AuthKind::None {
            return true;
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some((scheme, value)) = given.split_once(' ') else { return false };
        if !scheme.eq_ignore_ascii_case(self.scheme()) {
            return false;
        }
        let mut accepted = self.accepted.lock();
        self.refresh(&mut accepted);
        // All are compared, so that the time tells nothing.
        accepted.values.iter().fold(false, |found, known| found | same(known.as_bytes(), value.trim().as_bytes()))
    }

    fn refresh(&self, accepted: &mut Accepted) {
        let Some(file) = &self.file else { return };
        if accepted.looked.is_some_and(|looked| looked.elapsed() < LOOK_PERIOD) {
            return;
        }
        accepted.looked = Some(Instant::now());
        let now = stamp(file);
        if now == accepted.stamp {
            return;
        }
        match self.read(file) {
            Ok(values) => {
                accepted.values = values;
                accepted.stamp = now;
                info!(file = %file.display(), "credentials read again");
            }
            Err(failure) => error!(error = %failure, file = %file.display(), "credentials left as they were"),
        }
    }
}

fn stamp(file: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Compares in a time that depends on the lengths alone.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

/// Source: RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, &byte| group << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let is_used = place <= chunk.len();
            let digit = (group >> (18 - 6 * place)) & 63;
            text.push(if is_used { ALPHABET[digit as usize] as char } else { '=' });
        }
    }
    text
}

/// Lets in who may come in.
pub async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_open = matches!(request.uri().path(), "/ready" | "/metrics");
    if is_open || app.auth.admits(request.headers()) {
        return next.run(request).await;
    }
    let challenge = match app.auth.scheme() {
        "Basic" => HeaderValue::from_static("Basic realm=\"logstack\""),
        _ => HeaderValue::from_static("Bearer"),
    };
    let mut response = respond::error(StatusCode::UNAUTHORIZED, "unauthorized\n").into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_base64() {
        for (text, want) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("user:päss", "dXNlcjpww6Rzcw==")]
        {
            assert_eq!(base64(text.as_bytes()), want);
        }
    }

    #[test]
    fn admits_whom_the_file_names() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials");
        std::fs::write(&file, "# people\nann:secret\n\nbob:x:y\n").unwrap();
        let admits = |kind: AuthKind, header: Option<&str>| {
            let auth = Auth::new(&AuthConfig { kind, credentials_file: Some(file.clone()) }).unwrap();
            let mut headers = HeaderMap::new();
            if let Some(value) = header {
                headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            }
            auth.admits(&headers)
        };
        assert!(admits(AuthKind::None, None));
        assert!(!admits(AuthKind::Basic, None));
        assert!(admits(AuthKind::Basic, Some(&format!("basic {}", base64(b"ann:secret")))));
        assert!(admits(AuthKind::Basic, Some(&format!("Basic {}", base64(b"bob:x:y")))));
        assert!(!admits(AuthKind::Basic, Some(&format!("Basic {}", base64(b"ann:wrong")))));
        assert!(!admits(AuthKind::Basic, Some("Bearer ann:secret")));
        assert!(admits(AuthKind::Bearer, Some("Bearer ann:secret")));
        assert!(Auth::new(&AuthConfig { kind: AuthKind::Bearer, credentials_file: None }).is_err());
    }

    #[test]
    fn reads_the_file_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        std::fs::write(&file, "old").unwrap();
        let auth = Auth::new(&AuthConfig { kind: AuthKind::Bearer, credentials_file: Some(file.clone()) }).unwrap();
        std::fs::write(&file, "a new one").unwrap();
        auth.accepted.lock().looked = None;
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, "Bearer a new one".parse().unwrap());
        assert!(auth.admits(&headers));
    }
}
