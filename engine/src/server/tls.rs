//! TLS of the listener: `server.http_tls_config`, read again when its files change.
//!
//! Source: contract http-api.md, 3.1; Go, package crypto/tls, `ClientAuthType`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use logstack_config::engine::{ClientAuth, ServerConfig, TlsConfig};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};

use super::stamp;

/// How often the files are looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// What is wrong with a certificate, a key, or an authority.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error("cannot read {path:?} (`server.http_tls_config`)")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its content.
    #[error("`server.http_tls_config.{key}` holds no {what} in PEM form")]
    Pem {
        /// Without `_file`.
        key: &'static str,
        /// What was looked for.
        what: &'static str,
    },
    /// All of it together: a key that is another certificate's, an authority that is none.
    #[error("`server.http_tls_config` is not usable: {0}")]
    Unusable(String),
}

/// The certificate in force.
pub struct Tls {
    config: TlsConfig,
    min_version: String,
    current: ArcSwap<rustls::ServerConfig>,
}

impl Tls {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(server: &ServerConfig) -> Result<Self, TlsError> {
        let (config, min_version) = (server.http_tls_config.clone(), server.tls_min_version.clone());
        let current = ArcSwap::from_pointee(build(&config, &min_version)?);
        Ok(Self { config, min_version, current })
    }

    /// For the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Reads the files again when they change; what cannot be used is reported, and the last good one stays in force.
    pub async fn watch(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut seen = self.stamps().await;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_PERIOD) => {}
                _ = stopped.changed() => return,
            }
            let now = self.stamps().await;
            if now == seen {
                continue;
            }
            // Certificate and key change one after the other: between the two they do not fit, and the second change
            // is seen, too.
            seen = now;
            let this = self.clone();
            match tokio::task::spawn_blocking(move || build(&this.config, &this.min_version)).await {
                Ok(Ok(config)) => {
                    self.current.store(Arc::new(config));
                    info!("certificate read again");
                }
                Ok(Err(failure)) => error!(error = %failure, "certificate left as it was"),
                Err(failure) => error!(error = %failure, "certificate left as it was"),
            }
        }
    }

    async fn stamps(&self) -> [Option<(std::time::SystemTime, u64)>; 3] {
        let of = async |path: &Option<PathBuf>| match path {
            Some(path) => stamp(path).await,
            None => None,
        };
        [of(&self.config.cert_file).await, of(&self.config.key_file).await, of(&self.config.client_ca_file).await]
    }
}

fn build(config: &TlsConfig, min_version: &str) -> Result<rustls::ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let certificates = certificates(&text(config.cert_file.as_deref(), &config.cert)?, "cert")?;
    let key = PrivateKeyDer::from_pem_slice(&text(config.key_file.as_deref(), config.key.expose())?)
        .map_err(|_| TlsError::Pem { key: "key", what: "private key" })?;
    let versions = if min_version == "VersionTLS13" { &[&TLS13][..] } else { &[&TLS13, &TLS12][..] };
    let unusable = |failure: &dyn std::fmt::Display| TlsError::Unusable(failure.to_string());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|failure| unusable(&failure))?;
    let builder = match client_verifier(config, &provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut built = builder.with_single_cert(certificates, key).map_err(|failure| unusable(&failure))?;
    // No HTTP/2 here: proxies that speak it upstream cannot upgrade a tail to a websocket.
    built.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(built)
}

/// Files win over inline texts.
fn text(file: Option<&Path>, inline: &str) -> Result<Vec<u8>, TlsError> {
    match file {
        Some(path) => std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source }),
        None => Ok(inline.as_bytes().to_vec()),
    }
}

fn certificates(pem: &[u8], key: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or(TlsError::Pem { key, what: "certificate" })
}

/// `None`: clients are not asked.
fn client_verifier(
    config: &TlsConfig,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let is_needed = match config.client_auth_type {
        ClientAuth::NoClientCert => return Ok(None),
        ClientAuth::RequestClientCert | ClientAuth::RequireAnyClientCert => {
            let is_needed = config.client_auth_type == ClientAuth::RequireAnyClientCert;
            let algorithms = provider.signature_verification_algorithms;
            return Ok(Some(Arc::new(AnyCertificate { is_needed, algorithms })));
        }
        ClientAuth::VerifyClientCertIfGiven => false,
        ClientAuth::RequireAndVerifyClientCert => true,
    };
    let mut roots = RootCertStore::empty();
    for authority in certificates(&text(config.client_ca_file.as_deref(), &config.client_ca)?, "client_ca")? {
        roots.add(authority).map_err(|failure| TlsError::Unusable(failure.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let builder = if is_needed { builder } else { builder.allow_unauthenticated() };
    builder.build().map(|verifier| Some(verifier as _)).map_err(|failure| TlsError::Unusable(failure.to_string()))
}

/// Takes any certificate, whoever signed it; the client must have its key all the same.
#[derive(Debug)]
struct AnyCertificate {
    is_needed: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.is_needed
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
