//! `prl serve`: a trained run answers over HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use prl_serve::{ApiKey, Options, Server};

use crate::exit::Usage;
use crate::flags::{Compute, FromRun};
use crate::output::errln;

/// The variable that holds the API key.
const KEY: &str = "PRL_API_KEY";

/// Serve recommendations over HTTP, with a page to try them
///
/// Clients must send the API key as `Authorization: Bearer KEY` if there is one, in --api-key-file or the environment's
/// PRL_API_KEY. SIGHUP reads the run again; Ctrl-C and SIGTERM answer what has begun, then end.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: FromRun,
    /// Where to listen; only this machine can reach the default
    #[arg(long, default_value = "127.0.0.1:8080")]
    addr: SocketAddr,
    /// A file that holds the API key, and nothing else
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Requests that are answered at once; one more gets a 503
    #[arg(long, default_value_t = 1_024)]
    requests: usize,
    /// Connections at once; further ones wait
    #[arg(long, default_value_t = 4_096)]
    connections: usize,
    /// Questions that are answered in one inference at most
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Seconds a request may take
    #[arg(long, default_value_t = 2.0)]
    timeout: f64,
    /// Seconds a kept session lives after its last use
    #[arg(long, default_value_t = 1_800)]
    session_ttl: u64,
    /// Sessions that are kept at most
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let device = args.compute.open()?;
    let timeout = Duration::try_from_secs_f64(args.timeout)
        .ok()
        .filter(|timeout| !timeout.is_zero());
    let mut options = Options::new(&args.from.run);
    options.addr = args.addr;
    options.key = key(args.api_key_file)?;
    options.requests = args.requests.clamp(1, 1 << 20);
    options.connections = args.connections.clamp(1, 1 << 20);
    options.timeout = timeout.ok_or_else(|| Usage("--timeout must be above 0".into()))?;
    // As long a queue as there are requests: one that was let in alone is never refused for want of a place.
    options.engine = prl_engine::Options {
        queue: options.requests,
        batch: args.batch,
        timeout: options.timeout,
        device,
    };
    options.sessions.keep = Duration::from_secs(args.session_ttl);
    options.sessions.sessions = args.sessions;
    let server = Server::start(options)?;
    errln!("listening on http://{}", server.addr());
    server.wait().map_err(|error| match error {
        prl_serve::Error::Engine(prl_engine::Error::Model(error)) => error.into(),
        error => error.into(),
    })
}

/// The key in the file, or in the environment; an empty one is a mistake, not an open door.
fn key(file: Option<PathBuf>) -> anyhow::Result<Option<ApiKey>> {
    let (text, whence) = match file {
        Some(file) => (
            std::fs::read_to_string(&file).with_context(|| file.display().to_string())?,
            file.display().to_string(),
        ),
        None => match std::env::var(KEY) {
            Ok(text) => (text, KEY.to_owned()),
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(error) => return Err(Usage(format!("{KEY}: {error}")).into()),
        },
    };
    let key = ApiKey::new(&text).ok_or_else(|| Usage(format!("{whence} holds no key")))?;
    Ok(Some(key))
}
