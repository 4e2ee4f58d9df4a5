//! TLS to a server whose certificate has another name than the URL (`tls_config.server_name`).

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};

/// What the connection is made with; texts are PEM.
#[derive(Debug)]
pub struct Named<'n> {
    /// Name that the certificate must have.
    pub name: &'n str,
    /// Empty: the system's authorities.
    pub authorities: &'n str,
    /// Empty: none.
    pub certificate: &'n str,
    /// Of the certificate.
    pub key: &'n str,
    /// TLS 1.2 is spoken.
    pub speaks_12: bool,
    /// TLS 1.3 is spoken.
    pub speaks_13: bool,
}

impl Named<'_> {
    /// Settings for a connection.
    ///
    /// # Errors
    /// A text that is no PEM, or a name that is none.
    pub fn config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let name = ServerName::try_from(self.name.to_owned()).map_err(|err| format!("server_name: {err}"))?;
        let inner = verifier(self.authorities, &provider)?;
        let mut versions: Vec<&'static SupportedProtocolVersion> = Vec::new();
        versions.extend(self.speaks_13.then_some(&TLS13));
        versions.extend(self.speaks_12.then_some(&TLS12));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|err| format!("min_version, max_version: {err}"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Renamed { inner, name }));
        if self.certificate.is_empty() {
            return Ok(builder.with_no_client_auth());
        }
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|err| format!("key: {err}"))?;
        builder.with_client_auth_cert(certificates(self.certificate)?, key).map_err(|err| format!("cert: {err}"))
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|err| err.to_string())
}

fn verifier(authorities: &str, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    if authorities.is_empty() {
        let system = rustls_platform_verifier::Verifier::new(provider.clone()).map_err(|err| err.to_string())?;
        return Ok(Arc::new(system));
    }
    let mut roots = RootCertStore::empty();
    for authority in certificates(authorities)? {
        roots.add(authority).map_err(|err| format!("ca: {err}"))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    verifier.map(|verifier| verifier as _).map_err(|err| format!("ca: {err}"))
}

/// Verifies everything as usual, under another name.
#[derive(Debug)]
struct Renamed {
    inner: Arc<dyn ServerCertVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for Renamed {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner.verify_server_cert(certificate, intermediates, &self.name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
