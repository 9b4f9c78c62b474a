//! `prl serve`: HTTP server of a trained run.

mod items;
mod state;
pub mod web;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use prl_arms::Experiment;
use prl_runs::{CURRENT, Registry};
use prl_serve::{ApiKey, CandidateOptions, Options, Server};

use crate::exit::Usage;
use crate::flags::Compute;
use crate::output::errln;
use items::ItemArgs;
use state::StateArgs;
use web::{LogFormat, WebArgs};

/// Environment variable that holds the API key.
const KEY: &str = "PRL_API_KEY";

/// Serve recommendations over HTTP, with a demo page
///
/// If an API key is configured (--keys, --api-key-file, or the environment variable PRL_API_KEY),
/// clients must send one as `Authorization: Bearer KEY`. SIGHUP reloads run, keys and certificate;
/// Ctrl-C and SIGTERM answer the begun requests and exit.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    web: WebArgs,
    /// File that contains an API key with all roles and nothing else
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Maximum number of concurrent requests; further ones get status 503
    #[arg(long, default_value_t = 1_024)]
    requests: usize,
    /// Maximum number of open connections; further ones wait
    #[arg(long, default_value_t = 4_096)]
    connections: usize,
    /// Maximum number of requests in one inference batch
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Time limit of a request in seconds
    #[arg(long, default_value_t = 2.0)]
    timeout: f64,
    /// A second run: compared with the served one (--shadow), or answering the arms of the
    /// experiment whose model is "candidate"
    #[arg(long, value_name = "RUN")]
    candidate: Option<PathBuf>,
    /// Share of the answers that are compared with the candidate's, 0 to 1; the report is at
    /// /v1/admin/shadow
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.0,
        requires = "candidate"
    )]
    shadow: f64,
    #[command(flatten)]
    state: StateArgs,
    /// TOML of an experiment: arms with their shares and prompts. A request that names a session
    /// and sets no prompt gets that of the session's arm
    #[arg(long, value_name = "FILE")]
    experiment: Option<PathBuf>,
    /// Directory for the log of answers and events, as JSON lines; `prl ope` reads it
    #[arg(long, value_name = "DIR")]
    experiment_log: Option<PathBuf>,
    #[command(flatten)]
    items: ItemArgs,
    #[command(flatten)]
    compute: Compute,
}

impl Args {
    /// The format of the log.
    pub fn log_format(&self) -> LogFormat {
        self.web.log_format()
    }
}

/// Served run, or the registry it is promoted in
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Run directory, as written by `prl train`
    #[arg(long)]
    run: Option<PathBuf>,
    /// Registry of runs: its promoted run is served, and followed when it changes (`prl models`)
    #[arg(long, value_name = "DIR")]
    registry: Option<PathBuf>,
}

impl Source {
    /// Default options for what is served.
    fn options(self) -> anyhow::Result<Options> {
        let Some(dir) = self.registry else {
            return Ok(Options::new(self.run.unwrap_or_default()));
        };
        let registry = Registry::open(&dir)?;
        if registry.current()?.is_none() {
            let dir = dir.display();
            let hint =
                format!("{dir}: no run is promoted; `prl models promote --registry {dir} RUN`");
            return Err(Usage(hint).into());
        }
        let mut options = Options::new(dir.join(CURRENT));
        options.follow = true;
        Ok(options)
    }
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let device = args.compute.open()?;
    let log_format = args.log_format();
    let timeout = Duration::try_from_secs_f64(args.timeout)
        .ok()
        .filter(|timeout| !timeout.is_zero());
    let mut options = args.source.options()?;
    options.web = args.web.options()?;
    options.key = key(args.api_key_file)?;
    options.requests = args.requests.clamp(1, 1 << 20);
    options.connections = args.connections.clamp(1, 1 << 20);
    options.timeout =
        timeout.ok_or_else(|| Usage("--timeout is not a positive number of seconds".into()))?;
    // The queue has room for every admitted request; a batch can still fill it.
    options.engine = prl_engine::Options {
        queue: options.requests,
        batch: args.batch,
        timeout: options.timeout,
        device,
        available: args.items.available_column,
    };
    args.state.apply(&mut options)?;
    if !(0.0..=1.0).contains(&args.shadow) {
        let what = format!("--shadow is {}; expected a share from 0 to 1", args.shadow);
        return Err(Usage(what).into());
    }
    let shadow = args.shadow;
    options.candidate = args.candidate.map(|run| CandidateOptions { run, shadow });
    options.experiment = match &args.experiment {
        Some(file) => {
            let experiment = Experiment::open(file)?;
            for arm in experiment.arms() {
                errln!(
                    "experiment {}: arm {}, {:.4}",
                    experiment.name(),
                    arm.name,
                    arm.p
                );
            }
            Some(experiment)
        }
        None => None,
    };
    options.experiment_log = args.experiment_log;
    let server = Server::start(options).map_err(cause)?;
    for url in server.urls() {
        match log_format {
            LogFormat::Text => errln!("listening on {url}"),
            LogFormat::Json => tracing::info!(url, "listening"),
        }
    }
    server.wait().map_err(cause)
}

/// The error whose kind has an exit code.
fn cause(error: prl_serve::Error) -> anyhow::Error {
    match error {
        prl_serve::Error::Engine(prl_engine::Error::Model(error)) => error.into(),
        prl_serve::Error::Experiment(error) => error.into(),
        prl_serve::Error::Store(error) => error.into(),
        prl_serve::Error::Keys(error) => Usage(error.to_string()).into(),
        prl_serve::Error::Tls(error) => Usage(error.to_string()).into(),
        error => error.into(),
    }
}

/// The API key of the file or the environment. An empty key is an error: it must not disable
/// authentication.
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
    let key = ApiKey::new(&text)
        .ok_or_else(|| Usage(format!("{whence} is empty; expected an API key")))?;
    Ok(Some(key))
}
