//! Flags of `prl serve` about listeners, TLS, API keys and access from browsers.

use std::path::PathBuf;

use prl_serve::{CorsOrigin, ListenAddr, PathPrefix, TlsOptions, WebOptions};

use crate::exit::Usage;

#[derive(clap::Args)]
pub struct WebArgs {
    /// Address to listen on, repeatable: IP:PORT, NAME:PORT (all addresses of the name) or
    /// unix:PATH (owner and group may connect). The default is reachable from this machine only;
    /// with --tls-addr alone there is no plain listener
    #[arg(long, value_name = "ADDR")]
    addr: Vec<ListenAddr>,
    /// Address to listen on with TLS, repeatable; offers HTTP/2 and HTTP/1.1
    #[arg(long, value_name = "ADDR", requires_all = ["tls_cert", "tls_key"])]
    tls_addr: Vec<ListenAddr>,
    /// PEM file of the certificate chain, the server's first; SIGHUP reads it and the key again
    #[arg(long, value_name = "FILE", requires = "tls_addr")]
    tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_addr")]
    tls_key: Option<PathBuf>,
    /// TOML file of API keys with names, roles (ask, write, admin) and quotas; SIGHUP reads it
    /// again. `prl key` makes an entry
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Origin whose pages may call the server from a browser, repeatable; * allows all. Cookies
    /// are never allowed
    #[arg(long, value_name = "ORIGIN")]
    cors_origin: Vec<CorsOrigin>,
    /// Path under which a reverse proxy publishes the server; the proxy may remove it or not
    #[arg(long, value_name = "PATH")]
    path_prefix: Option<PathPrefix>,
}

impl WebArgs {
    /// The options of the server.
    ///
    /// # Errors
    /// If a part of the TLS settings is missing.
    pub fn options(self) -> anyhow::Result<WebOptions> {
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(certificate), Some(key)) => Some(TlsOptions {
                listen: self.tls_addr,
                certificate,
                key,
            }),
            (None, None) => None,
            _ => return Err(Usage("--tls-cert and --tls-key go together".into()).into()),
        };
        let mut listen = self.addr;
        if listen.is_empty() && tls.is_none() {
            listen.push(ListenAddr::Tcp(([127, 0, 0, 1], 8080).into()));
        }
        Ok(WebOptions {
            listen,
            tls,
            cors: self.cors_origin,
            path_prefix: self.path_prefix,
            keys: self.keys,
        })
    }
}
