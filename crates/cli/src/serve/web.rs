//! Flags of `prl serve` about listeners, TLS, API keys and access from browsers.

use std::path::PathBuf;

use prl_serve::{CorsOrigin, ListenAddr, PathPrefix, TlsOptions, TraceOptions, WebOptions};

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
    /// Directory that the runs of POST /v1/admin/reload must lie below; by default any directory is
    /// allowed
    #[arg(long, value_name = "DIR")]
    runs_root: Option<PathBuf>,
    /// Format of the log on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Collector of traces (OTLP over HTTP): http://localhost:4318. Default: the environment
    /// variable OTEL_EXPORTER_OTLP_ENDPOINT; OTEL_SERVICE_NAME names the service
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Share of the requests that are traced, from 0 to 1; where the caller sends `traceparent`, it
    /// decides
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    otlp_share: f64,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// A line of text for each event
    #[default]
    Text,
    /// A JSON object for each event
    Json,
}

impl WebArgs {
    /// The format of the log.
    pub fn log_format(&self) -> LogFormat {
        self.log_format
    }

    /// The options of the server.
    ///
    /// # Errors
    /// If a part of the TLS settings is missing.
    pub fn options(self) -> anyhow::Result<WebOptions> {
        let traces = self.traces()?;
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
            runs_root: self.runs_root,
            traces,
        })
    }

    /// Where traces go to: as the flag says, or the environment variables of OpenTelemetry.
    fn traces(&self) -> anyhow::Result<Option<TraceOptions>> {
        if !(0.0..=1.0).contains(&self.otlp_share) {
            return Err(Usage("--otlp-share is not a number from 0 to 1".into()).into());
        }
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let options = if let Some(base) = &self.otlp_endpoint {
            TraceOptions::new(base)
        } else if let Some(url) = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
            TraceOptions::with_url(&url)
        } else if let Some(base) = variable("OTEL_EXPORTER_OTLP_ENDPOINT") {
            TraceOptions::new(&base)
        } else {
            return Ok(None);
        };
        let mut options = options.map_err(|error| Usage(error.to_string()))?;
        options.share = self.otlp_share;
        if let Some(name) = variable("OTEL_SERVICE_NAME") {
            options.service = name;
        }
        Ok(Some(options))
    }
}
