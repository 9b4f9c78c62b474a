//! `prl state`: back-up, restoring and erasure of what a server stores.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prl_fs::StagedFile;
use prl_store::{
    SessionLimits, SessionStore, StoreAddress, erase_in_backup, read_backup, restore_backup,
    write_backup,
};
use serde_json::{Value, json};

use crate::client::Client;
use crate::exit::Usage;
use crate::output::{errln, outln};

/// Back up, restore and erase what a server stores about sessions
///
/// Changes of items (PATCH, the deny list) are not in a back-up.
///
/// A directory of sessions is used by one process at a time: while a server runs on it, name the
/// server with --via. Redis can be named at any time.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Write all sessions to a file of JSON lines
    Backup {
        #[command(flatten)]
        store: Store,
        /// URL of a running server, which writes the file into the directory of its --backups
        #[arg(long, value_name = "URL", conflicts_with_all = ["state", "session_store", "out"])]
        via: Option<String>,
        /// The file; an older one is replaced
        #[arg(long, value_name = "FILE", required_unless_present = "via")]
        out: Option<PathBuf>,
    },
    /// Write the sessions of a back-up to a store, replacing those of the same names
    Restore {
        /// The back-up
        file: PathBuf,
        /// Time to live of a session after its last use, in seconds: that of the server
        #[arg(long, default_value_t = 1_800)]
        session_ttl: u64,
        #[command(flatten)]
        store: Store,
    },
    /// Write the sessions of a back-up as requests, for `prl recommend --input`
    Requests {
        /// The back-up
        file: PathBuf,
        /// The requests, a line each; an older file is replaced
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Erase sessions from the store, the experiment's log and back-ups
    Erase {
        /// Names of the sessions
        #[arg(required = true)]
        sessions: Vec<String>,
        #[command(flatten)]
        store: Store,
        /// Directory of the experiment's log
        #[arg(long, value_name = "DIR")]
        experiment_log: Option<PathBuf>,
        /// URL of a running server, which erases from its store, its log and the back-ups of its
        /// --backups
        #[arg(long, value_name = "URL", conflicts_with_all = ["state", "session_store", "experiment_log"])]
        via: Option<String>,
        /// Back-ups to erase from
        #[arg(long, value_name = "FILE")]
        backup: Vec<PathBuf>,
    },
}

/// Where the sessions are
#[derive(clap::Args)]
struct Store {
    /// Directory of --state of a server that is not running
    #[arg(long, value_name = "DIR", conflicts_with = "session_store")]
    state: Option<PathBuf>,
    /// Directory or Redis of --session-store of the server
    #[arg(
        long,
        value_name = "STORE",
        env = "PRL_SESSION_STORE",
        hide_env_values = true
    )]
    session_store: Option<StoreAddress>,
}

impl Store {
    /// The store; `None` if none is named.
    fn open(self, ttl: Duration) -> anyhow::Result<Option<Arc<dyn SessionStore>>> {
        let Some(address) = self.address() else {
            return Ok(None);
        };
        Ok(Some(address.open(limits(ttl))?))
    }

    /// As [`open`](Self::open), for reading: a directory must exist, and no session expires.
    fn open_existing(self) -> anyhow::Result<Option<Arc<dyn SessionStore>>> {
        if let Some(StoreAddress::Disk(dir)) = self.address() {
            std::fs::metadata(&dir).with_context(|| dir.display().to_string())?;
        }
        self.open(Duration::from_secs(100 * 365 * 86_400))
    }

    fn address(&self) -> Option<StoreAddress> {
        let of_state = |dir: &PathBuf| StoreAddress::in_state(dir);
        let named = self.session_store.clone();
        named.or_else(|| self.state.as_ref().map(of_state))
    }
}

/// Limits that evict nothing: the server that wrote the sessions had limits of its own.
fn limits(ttl: Duration) -> SessionLimits {
    SessionLimits {
        ttl,
        sessions: usize::MAX >> 1,
        bytes: usize::MAX >> 1,
        ..SessionLimits::default()
    }
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match args.command {
        Command::Backup { via: Some(url), .. } => {
            let answer: Value = post(&url, "/v1/admin/backup", &json!({}))?;
            let file = answer["file"].as_str().unwrap_or_default();
            outln!("{file}: {} sessions", answer["sessions"])?;
        }
        Command::Backup { store, out, .. } => {
            let file = out.unwrap_or_default();
            let missing =
                || Usage("name the sessions with --state, --session-store or --via".into());
            let store = store.open_existing()?.ok_or_else(missing)?;
            let sessions = runtime.block_on(write_backup(&*store, &file))?;
            outln!("{}: {sessions} sessions", file.display())?;
        }
        Command::Restore {
            file,
            store,
            session_ttl,
        } => {
            let missing = || Usage("name the store with --state or --session-store".into());
            let ttl = Duration::from_secs(session_ttl);
            let store = store.open(ttl)?.ok_or_else(missing)?;
            let sessions = runtime.block_on(restore_backup(&*store, &file))?;
            outln!("{sessions} sessions restored")?;
        }
        Command::Requests { file, out } => {
            let requests = write_requests(&file, &out)?;
            outln!("{}: {requests} requests", out.display())?;
        }
        Command::Erase {
            sessions,
            store,
            experiment_log,
            via,
            backup,
        } => {
            let sessions = BTreeSet::from_iter(sessions);
            if let Some(url) = via {
                let answer = post(&url, "/v1/admin/erase", &json!({ "sessions": sessions }))?;
                outln!("{url}: {answer}")?;
            }
            if let Some(store) = store.open_existing()? {
                let mut erased = 0;
                for name in &sessions {
                    erased += u32::from(runtime.block_on(store.delete(name))?);
                }
                outln!("store: {erased} sessions erased")?;
            }
            if let Some(dir) = experiment_log {
                erase_in_log(&dir, &sessions)?;
            }
            for file in backup {
                let erased = erase_in_backup(&file, &sessions)?;
                outln!("{}: {erased} sessions erased", file.display())?;
            }
        }
    }
    Ok(())
}

/// Writes a request for each session of a back-up; returns their number.
fn write_requests(file: &Path, out: &Path) -> anyhow::Result<usize> {
    let mut staged = StagedFile::create(out)?;
    let mut requests = 0;
    for session in read_backup(file)? {
        let session = session?;
        let (mut items, mut kinds) = (Vec::new(), Vec::new());
        for event in &session.events {
            items.push(&event.item);
            kinds.push(event.kind);
        }
        let request = json!({ "session": session.session, "items": items, "kinds": kinds });
        writeln!(staged, "{request}").with_context(|| out.display().to_string())?;
        requests += 1;
    }
    staged.publish()?;
    Ok(requests)
}

fn erase_in_log(dir: &Path, sessions: &BTreeSet<String>) -> anyhow::Result<()> {
    let erased = prl_arms::erase_sessions(dir, sessions)?;
    outln!("{}: {} records erased", dir.display(), erased.records)?;
    for file in &erased.files_in_use {
        errln!(
            "{}: a server is writing it, nothing erased; name that server with --via",
            file.display()
        );
    }
    if !erased.files_in_use.is_empty() {
        anyhow::bail!("not all records are erased");
    }
    Ok(())
}

fn post(url: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
    let answer = Client::new(url).post(path, body.to_string())?;
    serde_json::from_str(&answer).with_context(|| format!("{url}: unreadable answer"))
}
