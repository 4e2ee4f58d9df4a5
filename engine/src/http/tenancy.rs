//! Tenancy: `X-Scope-OrgID` to the tenants of a request.
//!
//! No authentication happens here: a proxy in front does it. With `auth_enabled: false` every request is one tenant's
//! and the header is not even read.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use logstack_config::EngineConfig;

use crate::model::TenantId;

/// The header that names the tenant.
pub const HEADER: &str = "x-scope-orgid";

/// Longest id in bytes. Ids become folder names and metric labels.
pub const ID_BYTES_MAX: usize = 150;

/// Why the header names no tenant. Displays Loki's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No header, or an empty one.
    #[error("no org id")]
    Missing,
    /// `a|b` where one tenant is asked for.
    #[error("multiple org IDs present")]
    Several,
    /// A character that ids may not hold.
    #[error("tenant ID '{id}' contains unsupported character '{character}'")]
    UnsupportedCharacter {
        /// The id as sent.
        id: String,
        /// The first such character.
        character: char,
    },
    /// Longer than [`ID_BYTES_MAX`].
    #[error("tenant ID is too long: max {ID_BYTES_MAX} characters")]
    TooLong,
    /// `.` or `..`, which would leave the data folder.
    #[error("tenant ID is '.' or '..'")]
    Dots,
}

impl Error {
    /// 401 without a tenant, 400 for a malformed one.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Missing => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let headers =
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
        (self.status(), headers, format!("{self}\n")).into_response()
    }
}

/// How requests name their tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenancy {
    /// `auth_enabled: true`: by header.
    Header,
    /// `auth_enabled: false`: everything is this tenant's.
    Single(TenantId),
}

impl Tenancy {
    /// What `auth_enabled` and `no_auth_tenant` say.
    pub fn new(config: &EngineConfig) -> Self {
        if config.auth_enabled { Self::Header } else { Self::Single(TenantId::new(config.no_auth_tenant.as_str())) }
    }

    /// The one tenant of a request: pushes, tails, deletes.
    ///
    /// # Errors
    /// [`Error`] when the header is missing, malformed, or names several tenants.
    pub fn tenant(&self, headers: &HeaderMap) -> Result<TenantId, Error> {
        let mut tenants = self.tenants(headers)?;
        match (tenants.pop(), tenants.is_empty()) {
            (Some(tenant), true) => Ok(tenant),
            _ => Err(Error::Several),
        }
    }

    /// The tenants of a read, sorted, each once, at least one. Whether several are allowed is for the caller to say.
    ///
    /// # Errors
    /// [`Error`] when the header is missing or malformed.
    pub fn tenants(&self, headers: &HeaderMap) -> Result<Vec<TenantId>, Error> {
        if let Self::Single(tenant) = self {
            return Ok(vec![tenant.clone()]);
        }
        let header = headers.get(HEADER).map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default();
        if header.is_empty() {
            return Err(Error::Missing);
        }
        let mut tenants = header.split('|').map(parse_id).collect::<Result<Vec<_>, _>>()?;
        tenants.sort();
        tenants.dedup();
        Ok(tenants)
    }
}

/// One id: `:sub` is cut off, the rest is checked.
fn parse_id(text: &str) -> Result<TenantId, Error> {
    let id = text.split(':').next().unwrap_or_default();
    let is_supported = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
    if let Some(character) = id.chars().find(|&c| !is_supported(c)) {
        return Err(Error::UnsupportedCharacter { id: id.to_owned(), character });
    }
    match id {
        "" => Err(Error::Missing),
        "." | ".." => Err(Error::Dots),
        _ if id.len() > ID_BYTES_MAX => Err(Error::TooLong),
        _ => Ok(TenantId::new(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: Option<&str>) -> HeaderMap {
        value.map(|value| (http::HeaderName::from_static(HEADER), value.parse().unwrap())).into_iter().collect()
    }

    #[test]
    fn reads_the_tenants() {
        #[track_caller]
        fn check(header: Option<&str>, want: Result<&[&str], (u16, &str)>) {
            let got = Tenancy::Header.tenants(&headers(header));
            let got = got
                .map(|ids| ids.iter().map(ToString::to_string).collect::<Vec<_>>())
                .map_err(|error| (error.status().as_u16(), error.to_string()));
            let want = want
                .map(|ids| ids.iter().map(ToString::to_string).collect::<Vec<_>>())
                .map_err(|(status, text)| (status, text.to_owned()));
            assert_eq!(got, want, "{header:?}");
        }
        let long = "x".repeat(151);
        check(None, Err((401, "no org id")));
        check(Some(""), Err((401, "no org id")));
        check(Some("a|"), Err((401, "no org id")));
        check(Some("team-1!_.*'()"), Ok(&["team-1!_.*'()"]));
        check(Some("b|a|b"), Ok(&["a", "b"]));
        check(Some("a:sub|b:c:d"), Ok(&["a", "b"]));
        check(Some("a/b"), Err((400, "tenant ID 'a/b' contains unsupported character '/'")));
        check(Some("a b"), Err((400, "tenant ID 'a b' contains unsupported character ' '")));
        check(Some("."), Err((400, "tenant ID is '.' or '..'")));
        check(Some(".."), Err((400, "tenant ID is '.' or '..'")));
        check(Some(&long[..150]), Ok(&[&long[..150]]));
        check(Some(&long), Err((400, "tenant ID is too long: max 150 characters")));
    }

    #[test]
    fn a_push_has_one_tenant() {
        #[track_caller]
        fn check(header: Option<&str>, tenancy: &Tenancy, want: Result<&str, Error>) {
            assert_eq!(tenancy.tenant(&headers(header)), want.map(TenantId::new), "{header:?}");
        }
        let single = Tenancy::new(&EngineConfig { auth_enabled: false, ..Default::default() });
        check(Some("a"), &Tenancy::Header, Ok("a"));
        check(Some("a|a"), &Tenancy::Header, Ok("a"));
        check(Some("a|b"), &Tenancy::new(&EngineConfig::default()), Err(Error::Several));
        check(Some("a|b"), &single, Ok("fake"));
        check(None, &single, Ok("fake"));
    }
}
