//! TLS: certificate and key from PEM files, read again on demand.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Protocols offered to clients, preferred first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {} for TLS: {cause}; expected {expected}", path.display())]
pub struct TlsError {
    path: PathBuf,
    cause: String,
    expected: &'static str,
}

/// TLS settings of listeners, replaced by [`reload`](Self::reload).
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the certificate chain and the key.
    ///
    /// # Errors
    /// If a file cannot be read or is no such PEM, or the key is not the certificate's.
    pub(crate) fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let config = read(certificate, key)?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(config),
        })
    }

    /// Reads the files again; connections from now on get the new certificate. On failure the
    /// current one stays.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let config = read(&self.certificate, &self.key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Path of the certificate.
    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The handshake with a client; an error if it fails or takes longer than `limit`.
    pub(crate) async fn accept<S>(
        &self,
        stream: S,
        limit: Duration,
    ) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        tokio::time::timeout(limit, TlsAcceptor::from(config).accept(stream)).await?
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let error = |path: &Path, cause: String, expected| TlsError {
        path: path.to_owned(),
        cause,
        expected,
    };
    let chain = read_chain(certificate).map_err(|cause| {
        let expected = "a PEM file with the certificate chain, the server's certificate first";
        error(certificate, cause, expected)
    })?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|cause| {
        let expected = "a PEM file with an unencrypted private key";
        error(key, cause.to_string(), expected)
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let built = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, secret)
        });
    let mut config = built.map_err(|cause| {
        let expected = "the private key of the certificate";
        error(key, cause.to_string(), expected)
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(Arc::new(config))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| e.to_string())?;
    let mut chain = Vec::new();
    for certificate in certificates {
        chain.push(certificate.map_err(|e| e.to_string())?);
    }
    if chain.is_empty() {
        return Err("it holds no certificate".into());
    }
    Ok(chain)
}
