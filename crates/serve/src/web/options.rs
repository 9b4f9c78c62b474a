//! Settings of what lies between the network and the routes.

use std::path::PathBuf;

use crate::web::cors::CorsOrigin;
use crate::web::listen::ListenAddr;
use crate::web::prefix::PathPrefix;

/// Settings of listeners, TLS, keys and browsers' access. By default all are off or empty.
#[derive(Clone, Debug, Default)]
pub struct WebOptions {
    /// Addresses to listen on with plain HTTP. Without any and without TLS, [`Options::addr`] is
    /// listened on.
    ///
    /// [`Options::addr`]: crate::Options::addr
    pub listen: Vec<ListenAddr>,
    /// Addresses to listen on with TLS, and the certificate.
    pub tls: Option<TlsOptions>,
    /// Origins whose pages may call the server from a browser.
    pub cors: Vec<CorsOrigin>,
    /// Path under which a reverse proxy publishes the server.
    pub path_prefix: Option<PathPrefix>,
    /// TOML file of API keys, read again on SIGHUP.
    pub keys: Option<PathBuf>,
}

/// TLS listeners. The files are read again on SIGHUP.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Addresses to listen on.
    pub listen: Vec<ListenAddr>,
    /// PEM file of the certificate chain, the server's certificate first.
    pub certificate: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
}
