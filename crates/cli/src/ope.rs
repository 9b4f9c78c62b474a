//! `prl ope`: off-policy evaluation of an experiment's arms.

#[cfg(feature = "tables")]
mod export;

use std::path::{Path, PathBuf};

use prl_arms::{Log, Reward, SessionLog, SessionOptions};
use prl_ope::{Options, Policy, Report, Rules, Sessions};

use crate::exit::Usage;
use crate::output::{errln, outln};

/// Largest file of rules.
const MAX_RULES: u64 = 1 << 20;

/// Estimate what each arm of an experiment returns, from the log of `prl serve --experiment-log`
///
/// The unit is the session, with its whole return after its first answer; where users have several
/// sessions, requests should name the session by its user. Prints IPS, SNIPS and a doubly robust
/// estimate with 95% intervals, the difference of each arm from the baseline, and the sessions that
/// a difference needs. Refuses small samples, and logs whose sessions were not assigned with the
/// probabilities that they name.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of the log, or one file of it
    #[arg(long, value_name = "DIR")]
    log: PathBuf,
    /// Name of the experiment; needed if the log has several
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,
    /// Policy to evaluate: arm:NAME, logged (the experiment's mix of arms), or rules:FILE, a TOML
    /// that chooses the arm by step, clicks and purchases so far; repeatable [default: all arms]
    #[arg(long, value_name = "POLICY")]
    policy: Vec<String>,
    /// Arm that the others are compared with [default: logged, the experiment's mix of arms]
    #[arg(long, value_name = "ARM")]
    baseline: Option<String>,
    /// Rewards of the events [default: click=0.2,purchase=1]
    #[arg(long, value_name = "KIND=R,..", conflicts_with = "value")]
    reward: Option<String>,
    /// The return is the sum of the events' values, such as money
    #[arg(long)]
    value: bool,
    /// Smallest effective sample size that is estimated from
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    min_ess: u32,
    /// Also write the sessions as this Parquet file
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let report = report(&args)?;
    if let (false, Some(refused)) = (args.policy.is_empty(), report.refused()) {
        errln!("{refused}");
    }
    if args.json {
        outln!("{}", serde_json::to_string(&report)?)?;
    } else {
        outln!("{report}")?;
    }
    Ok(())
}

/// Evaluates as the flags say.
pub(crate) fn report(args: &Args) -> anyhow::Result<Report> {
    let reward = reward(args)?;
    let options = SessionOptions {
        experiment: args.experiment.clone(),
    };
    let log = Log::open(&args.log)?.sessions(&options)?;
    for (path, bytes) in &log.torn {
        errln!(
            "{}: the last {bytes} bytes are a line that was not finished; not read",
            path.display()
        );
    }
    if let Some(path) = &args.export {
        export(path, &log, reward)?;
    }
    if args.value && log.purchases_without_value > 0 {
        errln!(
            "{} purchases have no value and count 0",
            log.purchases_without_value
        );
    }
    let sessions = Sessions::from_log(&log, reward);
    let mut policies = Vec::new();
    for text in &args.policy {
        policies.push(policy(text, &sessions)?);
    }
    if policies.is_empty() {
        policies.extend((0..log.arms.len()).map(Policy::Arm));
        policies.push(Policy::Logged);
    }
    let baseline = match args.baseline.as_deref() {
        None | Some("logged") => Policy::Logged,
        Some(arm) => {
            let name = arm.strip_prefix("arm:").unwrap_or(arm);
            Policy::Arm(sessions.arm(name).map_err(|e| usage("--baseline", &e))?)
        }
    };
    let options = Options {
        min_ess: args.min_ess.into(),
    };
    Ok(Report::new(&log, reward, (&policies, &baseline), options)?)
}

/// An error of an argument.
fn usage(flag: &str, error: &prl_ope::Error) -> Usage {
    Usage(format!("{flag}: {error}"))
}

fn policy(text: &str, sessions: &Sessions) -> anyhow::Result<Policy> {
    if text == "logged" {
        return Ok(Policy::Logged);
    }
    if let Some(name) = text.strip_prefix("arm:") {
        let arm = sessions.arm(name).map_err(|e| usage("--policy", &e))?;
        return Ok(Policy::Arm(arm));
    }
    let Some(file) = text.strip_prefix("rules:") else {
        return Err(usage("--policy", &prl_ope::Error::Policy(text.to_owned())).into());
    };
    let bytes = prl_fs::read_at_most(Path::new(file), MAX_RULES)?;
    let rules = String::from_utf8(bytes).map_err(|_| Usage(format!("{file}: not UTF-8 text")))?;
    let rules = Rules::from_toml(file, &rules, sessions);
    Ok(Policy::Rules(rules.map_err(|e| usage("--policy", &e))?))
}

/// Rewards of the flags.
fn reward(args: &Args) -> Result<Reward, Usage> {
    if args.value {
        return Ok(Reward::Value);
    }
    let Some(text) = &args.reward else {
        return Ok(Reward::default());
    };
    let (mut click, mut purchase) = (None, None);
    for pair in text.split(',') {
        let wrong = |what: &str| Usage(format!("--reward {pair}: {what}"));
        let expected = "expected click=R or purchase=R";
        let (kind, number) = pair.split_once('=').ok_or_else(|| wrong(expected))?;
        let reward = number
            .trim()
            .parse()
            .ok()
            .filter(|reward: &f64| reward.is_finite());
        let reward = reward.ok_or_else(|| wrong("the reward is not a finite number"))?;
        let given = match kind.trim() {
            "click" => click.replace(reward),
            "purchase" => purchase.replace(reward),
            _ => return Err(wrong(expected)),
        };
        if given.is_some() {
            return Err(wrong("the kind is given twice"));
        }
    }
    let (Some(click), Some(purchase)) = (click, purchase) else {
        let what = format!("--reward {text}: name both kinds, such as click=0.2,purchase=1");
        return Err(Usage(what));
    };
    Ok(Reward::Kinds { click, purchase })
}

#[cfg(feature = "tables")]
fn export(path: &Path, log: &SessionLog, reward: Reward) -> anyhow::Result<()> {
    Ok(export::write(path, log, reward)?)
}

#[cfg(not(feature = "tables"))]
fn export(path: &Path, _log: &SessionLog, _reward: Reward) -> anyhow::Result<()> {
    let what = format!(
        "--export {}: this build writes no Parquet; build prl with the feature tables",
        path.display()
    );
    Err(Usage(what).into())
}
