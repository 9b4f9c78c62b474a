//! `prl key`: a new API key for the keys file of `prl serve`.

use std::io::Write;

use anyhow::Context;
use prl_serve::new_secret;

/// Make an API key: prints its secret, and its entry for the file of `prl serve --keys`
///
/// The entry holds the SHA-256 of the secret, which is printed once and stored nowhere. To rotate
/// a key, add the new entry beside the old one, send SIGHUP to the server, move the clients to the
/// new secret, remove the old entry and send SIGHUP again.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the key in logs and metrics: letters, digits, dots, - and _
    #[arg(long)]
    name: String,
    /// What the key may do: ask (recommendations), write (events), admin (everything)
    #[arg(long, value_delimiter = ',', default_value = "ask,write")]
    roles: Vec<RoleName>,
    /// Requests per second on average; further ones get status 429
    #[arg(long, value_name = "N")]
    per_second: Option<f64>,
    /// Requests at once; by default as many as in a second
    #[arg(long, value_name = "N", requires = "per_second")]
    burst: Option<u32>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum RoleName {
    Ask,
    Write,
    Admin,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let (secret, digest) = new_secret().context("failed to make a key")?;
    let mut roles = Vec::with_capacity(args.roles.len());
    for role in args.roles {
        roles.push(match role {
            RoleName::Ask => "\"ask\"",
            RoleName::Write => "\"write\"",
            RoleName::Admin => "\"admin\"",
        });
    }
    let mut entry = format!(
        "[[key]]\nname = {:?}\nsha256 = \"{digest}\"\nroles = [{}]\n",
        args.name,
        roles.join(", ")
    );
    if let Some(rate) = args.per_second {
        entry.push_str(&format!("per_second = {rate}\n"));
    }
    if let Some(burst) = args.burst {
        entry.push_str(&format!("burst = {burst}\n"));
    }
    prl_serve::check_keys(&entry).map_err(crate::exit::Usage)?;
    write!(std::io::stdout(), "# secret, shown once: {secret}\n{entry}")?;
    Ok(())
}
