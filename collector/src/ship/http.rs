//! The HTTP connection of a client: TLS, proxies, who we are. Certificates, passwords and tokens from files are read
//! again when the files change, so that rotated credentials need no restart.
//!
//! Source: Prometheus, "http_config"; RFC 6749, 4.4 (client credentials).

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use logstack_config::collector::{ClientConfig, ClientTls};
use parking_lot::Mutex;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::tls::Named;

/// How often files of certificates are looked at.
const FILES_PERIOD: Duration = Duration::from_secs(10);
/// A token is renewed this long before it ends.
const TOKEN_MARGIN: Duration = Duration::from_secs(30);
/// How long a token without a stated end is used.
const TOKEN_AGE: Duration = Duration::from_secs(300);

/// Why a request cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of certificates or credentials.
    #[error("cannot read {path:?}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// TLS settings, proxy.
    #[error("cannot set up the HTTP client")]
    Setup(#[source] reqwest::Error),
    /// A key of the configuration.
    #[error("{0}")]
    Setting(String),
    /// The server of tokens.
    #[error("cannot get a token from {url}")]
    Token {
        /// Where.
        url: String,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
}

/// A client's connection, made when it is first needed and made anew when its files change.
#[derive(Debug)]
pub struct Http {
    config: ClientConfig,
    is_tls: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    client: Option<reqwest::Client>,
    looked: Option<Instant>,
    stamps: Vec<Option<SystemTime>>,
    token: Option<(String, Instant)>,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
    expires_in: Option<u64>,
}

impl Http {
    /// Checks what can be checked now by making the connection's client.
    ///
    /// # Errors
    /// A file or setting that cannot be used.
    pub fn new(config: &ClientConfig, url: &reqwest::Url) -> Result<Self, Error> {
        let http = Self { config: config.clone(), is_tls: url.scheme() == "https", state: Mutex::default() };
        http.client()?;
        Ok(http)
    }

    /// The client to send with.
    pub fn client(&self) -> Result<reqwest::Client, Error> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let is_fresh = state.looked.is_some_and(|looked| now.duration_since(looked) < FILES_PERIOD);
        if let (true, Some(client)) = (is_fresh, &state.client) {
            return Ok(client.clone());
        }
        let stamps: Vec<_> =
            tls_files(&self.config.tls_config).map(|path| path.metadata().ok()?.modified().ok()).collect();
        state.looked = Some(now);
        if let Some(client) = state.client.as_ref().filter(|_| state.stamps == stamps) {
            return Ok(client.clone());
        }
        match build(&self.config, self.is_tls) {
            Ok(client) => {
                state.client = Some(client.clone());
                state.stamps = stamps;
                Ok(client)
            }
            // Half of a pair of files may be written: the old pair goes on until the new one is whole.
            Err(err) => state.client.clone().ok_or(err),
        }
    }

    /// The headers that say who we are.
    pub async fn headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        let config = &self.config;
        if let Some(basic) = &config.basic_auth {
            let user = from_file(basic.username_file.as_ref(), &basic.username)?;
            let password = from_file(basic.password_file.as_ref(), basic.password.expose())?;
            headers
                .insert(AUTHORIZATION, secret(&format!("Basic {}", base64(format!("{user}:{password}").as_bytes())))?);
        } else if let Some(authorization) = &config.authorization {
            let credentials = from_file(authorization.credentials_file.as_ref(), authorization.credentials.expose())?;
            headers.insert(AUTHORIZATION, secret(&format!("{} {credentials}", authorization.kind))?);
        } else if config.bearer_token_file.is_some() || !config.bearer_token.is_empty() {
            let token = from_file(config.bearer_token_file.as_ref(), config.bearer_token.expose())?;
            headers.insert(AUTHORIZATION, secret(&format!("Bearer {token}"))?);
        } else if config.oauth2.is_some() {
            headers.insert(AUTHORIZATION, secret(&format!("Bearer {}", self.token().await?))?);
        }
        for (name, header) in &config.http_headers {
            let name: HeaderName = name.parse().map_err(|err| Error::Setting(format!("http_headers: {err}")))?;
            let files = header.files.iter().map(|path| from_file(Some(path), ""));
            let plain = header.values.iter().cloned().chain(header.secrets.iter().map(|s| s.expose().to_owned()));
            for value in plain.map(Ok).chain(files) {
                headers.append(name.clone(), secret(&value?)?);
            }
        }
        Ok(headers)
    }

    async fn token(&self) -> Result<String, Error> {
        let now = Instant::now();
        if let Some((token, _)) = self.state.lock().token.as_ref().filter(|(_, until)| *until > now) {
            return Ok(token.clone());
        }
        let Some(oauth) = &self.config.oauth2 else { return Ok(String::new()) };
        let secret = from_file(oauth.client_secret_file.as_ref(), oauth.client_secret.expose())?;
        let scopes = oauth.scopes.join(" ");
        let mut form = vec![("grant_type", "client_credentials")];
        if !scopes.is_empty() {
            form.push(("scope", &scopes));
        }
        form.extend(oauth.endpoint_params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let failed = |source| Error::Token { url: oauth.token_url.clone(), source };
        let mut config = ClientConfig { tls_config: oauth.tls_config.clone(), ..ClientConfig::default() };
        config.proxy_url.clone_from(&oauth.proxy_url);
        let client = build(&config, oauth.token_url.starts_with("https:"))?;
        let request = client.post(&oauth.token_url).basic_auth(&oauth.client_id, Some(secret)).form(&form);
        let response = request.timeout(Duration::from_secs(10)).send().await.map_err(failed)?;
        let token: Token = response.error_for_status().map_err(failed)?.json().await.map_err(failed)?;
        let age = token.expires_in.map_or(TOKEN_AGE, Duration::from_secs).saturating_sub(TOKEN_MARGIN);
        self.state.lock().token = Some((token.access_token.clone(), now + age));
        Ok(token.access_token)
    }

    /// The server refused us: the next request asks for a new token.
    pub fn forget_token(&self) {
        self.state.lock().token = None;
    }
}

fn tls_files(tls: &ClientTls) -> impl Iterator<Item = &PathBuf> {
    [&tls.ca_file, &tls.cert_file, &tls.key_file].into_iter().flatten()
}

fn build(config: &ClientConfig, is_tls: bool) -> Result<reqwest::Client, Error> {
    // Fails when the process has a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder =
        reqwest::Client::builder().user_agent(concat!("logstack/", env!("CARGO_PKG_VERSION"))).http1_only();
    let tls = &config.tls_config;
    let (min, max) = (tls_version(&tls.min_version)?, tls_version(&tls.max_version)?);
    let authorities = from_file(tls.ca_file.as_ref(), &tls.ca)?;
    if !authorities.is_empty() {
        let certs = reqwest::Certificate::from_pem_bundle(authorities.as_bytes()).map_err(Error::Setup)?;
        builder = builder.tls_certs_only(certs);
    } else if !is_tls {
        // An image without certificates can still speak plain HTTP.
        builder = builder.tls_certs_only([]);
    }
    let (cert, key) =
        (from_file(tls.cert_file.as_ref(), &tls.cert)?, from_file(tls.key_file.as_ref(), tls.key.expose())?);
    if !cert.is_empty() {
        let identity = reqwest::Identity::from_pem(format!("{cert}\n{key}").as_bytes()).map_err(Error::Setup)?;
        builder = builder.identity(identity);
    }
    if tls.insecure_skip_verify {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    if let Some(version) = min {
        builder = builder.tls_version_min(version);
    }
    if let Some(version) = max {
        builder = builder.tls_version_max(version);
    }
    if is_tls && !tls.server_name.is_empty() && !tls.insecure_skip_verify {
        let named = Named {
            name: &tls.server_name,
            authorities: &authorities,
            certificate: &cert,
            key: &key,
            speaks_12: min != Some(reqwest::tls::Version::TLS_1_3),
            speaks_13: max != Some(reqwest::tls::Version::TLS_1_2),
        };
        let named = named.config().map_err(|err| Error::Setting(format!("tls_config.{err}")))?;
        builder = builder.tls_backend_preconfigured(named);
    }
    if !config.follow_redirects {
        builder = builder.redirect(reqwest::redirect::Policy::none());
    }
    if !config.proxy_url.is_empty() {
        let proxy = reqwest::Proxy::all(&config.proxy_url).map_err(Error::Setup)?;
        builder = builder.proxy(proxy.no_proxy(reqwest::NoProxy::from_string(&config.no_proxy)));
    } else if !config.proxy_from_environment {
        builder = builder.no_proxy();
    }
    builder.build().map_err(Error::Setup)
}

fn tls_version(text: &str) -> Result<Option<reqwest::tls::Version>, Error> {
    match text {
        "" => Ok(None),
        // Older versions are not spoken; as a lower bound they mean the same as 1.2.
        "TLS10" | "TLS11" | "TLS12" => Ok(Some(reqwest::tls::Version::TLS_1_2)),
        "TLS13" => Ok(Some(reqwest::tls::Version::TLS_1_3)),
        other => Err(Error::Setting(format!("tls_config: {other:?} is not one of TLS10, TLS11, TLS12, TLS13"))),
    }
}

fn from_file(path: Option<&PathBuf>, otherwise: &str) -> Result<String, Error> {
    let Some(path) = path else { return Ok(otherwise.to_owned()) };
    let text = std::fs::read_to_string(path).map_err(|source| Error::File { path: path.clone(), source })?;
    Ok(text.trim().to_owned())
}

fn secret(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Error::Setting("credentials hold a character that a header cannot".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Standard base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for idx in 0..4 {
            let six = (group >> (18 - 6 * idx)) & 63;
            out.push(if idx <= chunk.len() { char::from(ALPHABET[six as usize]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_base64() {
        for (text, want) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("user:pass", "dXNlcjpwYXNz")] {
            assert_eq!(base64(text.as_bytes()), want);
        }
    }

    #[tokio::test]
    async fn reads_credentials_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let config = ClientConfig { bearer_token_file: Some(path.clone()), ..ClientConfig::default() };
        let http = Http::new(&config, &"http://x/".parse().unwrap()).unwrap();
        assert_eq!(http.headers().await.unwrap()[AUTHORIZATION], "Bearer one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(http.headers().await.unwrap()[AUTHORIZATION], "Bearer two");
        std::fs::remove_file(&path).unwrap();
        assert!(http.headers().await.is_err());
    }
}
