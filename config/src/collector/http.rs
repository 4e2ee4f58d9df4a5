//! What all HTTP clients of Promtail share: authentication, TLS, proxies.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// `basic_auth`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BasicAuth {
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Name from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username_file: Option<PathBuf>,
    /// Password.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub password: Secret,
    /// Password from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

/// `authorization`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Authorization {
    /// The scheme.
    #[serde(rename = "type")]
    pub kind: String,
    /// What follows it.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub credentials: Secret,
    /// The same from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
}

impl Default for Authorization {
    fn default() -> Self {
        Self { kind: "Bearer".to_owned(), credentials: Secret::default(), credentials_file: None }
    }
}

/// `oauth2`: client credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OAuth2 {
    /// Who we are.
    pub client_id: String,
    /// Our secret.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub client_secret: Secret,
    /// The same from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,
    /// What we ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Who gives tokens.
    pub token_url: String,
    /// Further parameters of the request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoint_params: BTreeMap<String, String>,
    /// TLS to the token server.
    pub tls_config: ClientTls,
    /// Proxy to the token server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub proxy_url: String,
    /// Hosts without proxy, comma-separated.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub no_proxy: String,
    /// Take the proxy from `HTTP_PROXY` and friends.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub proxy_from_environment: bool,
    /// Headers for the proxy.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
}

/// `tls_config` of a client. Files are read again when they change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientTls {
    /// Authorities, PEM; empty: the system's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca: String,
    /// Our certificate, PEM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert: String,
    /// Our key, PEM.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub key: Secret,
    /// Authorities from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our certificate from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// Our key from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Name that the server's certificate must have.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_name: String,
    /// Believe any certificate.
    pub insecure_skip_verify: bool,
    /// `TLS10` to `TLS13`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub min_version: String,
    /// `TLS10` to `TLS13`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub max_version: String,
}

/// A header of `http_headers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpHeader {
    /// Values as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Values that are not printed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// Values from files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
}

/// Defines a struct with the keys of an HTTP client after its own. (`#[serde(flatten)]` would hide the keys from the
/// check for unknown ones.)
macro_rules! with_http_client {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* pub $field:ident: $type:ty = $default:expr,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            /// Basic authentication.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub basic_auth: Option<$crate::collector::BasicAuth>,
            /// The `Authorization` header.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub authorization: Option<$crate::collector::Authorization>,
            /// OAuth 2 client credentials.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub oauth2: Option<$crate::collector::OAuth2>,
            /// Bearer token; older form of `authorization`.
            #[serde(skip_serializing_if = "crate::Secret::is_empty")]
            pub bearer_token: $crate::Secret,
            /// The same from a file.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub bearer_token_file: Option<std::path::PathBuf>,
            /// TLS.
            pub tls_config: $crate::collector::ClientTls,
            /// Proxy for all requests.
            #[serde(skip_serializing_if = "String::is_empty")]
            pub proxy_url: String,
            /// Hosts without proxy, comma-separated.
            #[serde(skip_serializing_if = "String::is_empty")]
            pub no_proxy: String,
            /// Take the proxy from `HTTP_PROXY` and friends.
            pub proxy_from_environment: bool,
            /// Headers for the proxy.
            #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            pub proxy_connect_header: std::collections::BTreeMap<String, Vec<$crate::Secret>>,
            /// Follow redirects.
            pub follow_redirects: bool,
            /// Allow HTTP/2.
            pub enable_http2: bool,
            /// Further headers.
            #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            pub http_headers: std::collections::BTreeMap<String, $crate::collector::HttpHeader>,
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $default,)*
                    basic_auth: None,
                    authorization: None,
                    oauth2: None,
                    bearer_token: $crate::Secret::default(),
                    bearer_token_file: None,
                    tls_config: $crate::collector::ClientTls::default(),
                    proxy_url: String::new(),
                    no_proxy: String::new(),
                    proxy_from_environment: false,
                    proxy_connect_header: std::collections::BTreeMap::new(),
                    follow_redirects: true,
                    enable_http2: true,
                    http_headers: std::collections::BTreeMap::new(),
                }
            }
        }

        impl $name {
            /// The keys that all HTTP clients share.
            pub fn http_client(&self) -> $crate::collector::HttpClient<'_> {
                $crate::collector::HttpClient {
                    basic_auth: self.basic_auth.as_ref(),
                    authorization: self.authorization.as_ref(),
                    oauth2: self.oauth2.as_ref(),
                    bearer_token: &self.bearer_token,
                    bearer_token_file: self.bearer_token_file.as_deref(),
                    tls_config: &self.tls_config,
                    proxy_url: &self.proxy_url,
                    no_proxy: &self.no_proxy,
                    proxy_from_environment: self.proxy_from_environment,
                    proxy_connect_header: &self.proxy_connect_header,
                    follow_redirects: self.follow_redirects,
                    enable_http2: self.enable_http2,
                    http_headers: &self.http_headers,
                }
            }
        }
    };
}
pub(super) use with_http_client;

/// The shared keys of an HTTP client, borrowed from the block that holds them.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "documented at the struct that holds them")]
pub struct HttpClient<'a> {
    pub basic_auth: Option<&'a BasicAuth>,
    pub authorization: Option<&'a Authorization>,
    pub oauth2: Option<&'a OAuth2>,
    pub bearer_token: &'a Secret,
    pub bearer_token_file: Option<&'a std::path::Path>,
    pub tls_config: &'a ClientTls,
    pub proxy_url: &'a str,
    pub no_proxy: &'a str,
    pub proxy_from_environment: bool,
    pub proxy_connect_header: &'a BTreeMap<String, Vec<Secret>>,
    pub follow_redirects: bool,
    pub enable_http2: bool,
    pub http_headers: &'a BTreeMap<String, HttpHeader>,
}

impl HttpClient<'_> {
    /// Names of the ways to authenticate that are given. More than one is a mistake.
    pub fn authentications(&self) -> Vec<&'static str> {
        let given = [
            ("basic_auth", self.basic_auth.is_some()),
            ("authorization", self.authorization.is_some()),
            ("oauth2", self.oauth2.is_some()),
            ("bearer_token", !self.bearer_token.is_empty()),
            ("bearer_token_file", self.bearer_token_file.is_some()),
        ];
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
    }
}
