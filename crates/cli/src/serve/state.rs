//! Flags of what the server stores.

use std::path::PathBuf;
use std::time::Duration;

use prl_serve::{Options, StoreAddress, StoreError};

/// Where sessions are stored, and for how long
#[derive(clap::Args)]
pub struct StateArgs {
    /// Directory of what the server stores; an answered event survives the end of the process and
    /// of the machine
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Where sessions are stored: memory, a directory, or `redis://[[USER]:PASSWORD@]HOST[:PORT]`,
    /// which several servers share; by default in the directory of --state, or else in memory
    #[arg(
        long,
        value_name = "STORE",
        env = "PRL_SESSION_STORE",
        hide_env_values = true
    )]
    session_store: Option<StoreAddress>,
    /// Directory that back-ups of the sessions are written to (`POST /v1/admin/backup`), and erased
    /// in
    #[arg(long, value_name = "DIR")]
    backups: Option<PathBuf>,
    /// Time to live of a stored session after its last use, in seconds
    #[arg(long, default_value_t = 1_800)]
    session_ttl: u64,
    /// Maximum number of stored sessions; then the least recently used ones are deleted
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
}

impl StateArgs {
    /// Where changes of items are stored: beside the sessions that several servers share, or else
    /// in the directory of --state.
    fn item_changes(&self) -> StoreAddress {
        match (&self.session_store, &self.state) {
            (Some(redis @ StoreAddress::Redis(_)), _) => redis.clone(),
            (_, Some(dir)) | (Some(StoreAddress::Disk(dir)), None) => {
                StoreAddress::Disk(dir.join("items"))
            }
            _ => StoreAddress::Memory,
        }
    }

    /// Sets the options.
    ///
    /// # Errors
    /// If the store of changes of items cannot be opened.
    pub fn apply(self, options: &mut Options) -> Result<(), StoreError> {
        options.changes = Some(self.item_changes().open_changes()?);
        options.backups = self.backups;
        options.sessions.ttl = Duration::from_secs(self.session_ttl);
        options.sessions.sessions = self.sessions;
        options.session_store = match (self.session_store, self.state) {
            (Some(store), _) => store,
            (None, Some(dir)) => StoreAddress::in_state(&dir),
            (None, None) => StoreAddress::Memory,
        };
        Ok(())
    }
}
