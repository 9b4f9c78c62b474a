//! `prl simulate`: what lists of a run, or of a server, return in a simulated shop.

mod arm;
mod experiment;
mod model;
mod report;
mod via;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use prl_arms::Experiment;
use prl_dataset::{Discount, Rewards};
use prl_runs::{Device, RequestFields, Responder, Run};
use prl_synth::shop::{Best, Lists, NoLists, Popular, Random, Shop, ShopWorld, Visit, roll_out};

use crate::client::Client;
use crate::exit::Usage;
use crate::flags::{Compute, Prompt};
use crate::output::outln;
use arm::{Arm, Maker};
use experiment::{ExperimentLists, session_name};
use model::ModelLists;
use report::{ArmResult, Outcome, Report, Returns};
use via::{Connections, EventsTo, ServerLists};

/// Largest number of sessions.
const MAX_SESSIONS: u64 = 10_000_000;
/// Visits that are held in memory.
const CHUNK: u64 = 8_192;
/// Visits whose lists are made together; results do not depend on it.
const BATCH: usize = 1_024;
/// Default number of items of a list.
const DEFAULT_K: u64 = 20;
/// Largest number of connections to a server.
const MAX_CONNECTIONS: usize = 64;

/// Show lists to the visitors of a simulated shop and report what they return
///
/// The visitors are those of `prl synth --like shop`, and the run was trained on its log. After
/// each event a list is asked for and the visitor reacts to it: clicks on an item of it or views
/// another, buys, or leaves. Session n of a seed meets the same visitor under every arm, with the
/// same random numbers, so that differences are of pairs.
///
/// An arm is what is asked for: fields of a request to `prl serve`, as in `--arm
/// mu=2,exclude_seen=true`, with run=DIR for another run; or a list without a model: none, random,
/// popular (in the last item's category), and bounds that know the visitor's hidden taste: best-fit
/// (by relevance), best-buy (that times the probability of a purchase), best-money (that times the
/// price). Without --arm, the flags are the only arm.
#[derive(clap::Args)]
pub struct Args {
    /// Run directory, as written by `prl train` on the shop's log
    #[arg(long)]
    run: Option<PathBuf>,
    /// Sessions of each arm
    #[arg(long, default_value_t = 10_000)]
    sessions: u64,
    /// Parameters of the shop, by name
    #[arg(long, default_value = "base", value_name = "NAME")]
    world: String,
    /// Seed of the visitors; another than that of the training log
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One way to make lists; the first is compared with each other
    #[arg(long, value_name = "ASK")]
    arm: Vec<String>,
    /// Number of items of a list, 1 to 1000 [default: 20]
    #[arg(short, allow_negative_numbers = true, value_parser = crate::recommend::k)]
    k: Option<u64>,
    /// Leave items that the session has out of the lists
    #[arg(long)]
    exclude_seen: bool,
    /// Ask a running server for the lists of a model
    #[arg(long, value_name = "URL")]
    via: Option<String>,
    /// Connections to the server
    #[arg(long, default_value_t = 4, requires = "via")]
    connections: usize,
    /// Send the events to the server's log, for its experiment; the report has the sessions of
    /// each of its arms
    #[arg(long, requires = "via")]
    events: bool,
    /// Send the events to sessions that the server stores instead, and logs if it has a log
    #[arg(long, requires = "via", conflicts_with = "events")]
    stored: bool,
    /// TOML of an experiment whose arms are drawn for the sessions, as by `prl serve --experiment`;
    /// the report has the sessions of each arm
    #[arg(long, value_name = "FILE", requires = "log", conflicts_with_all = ["arm", "via"])]
    experiment: Option<PathBuf>,
    /// Directory for the experiment's log of lists and events, which `prl ope` reads
    #[arg(long, value_name = "DIR", requires = "experiment")]
    log: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    prompt: Prompt,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    if !(1..=MAX_SESSIONS).contains(&args.sessions) {
        let found = args.sessions;
        let message = format!("--sessions {found}: expected 1 to {MAX_SESSIONS}");
        return Err(Usage(message).into());
    }
    if !(1..=MAX_CONNECTIONS).contains(&args.connections) {
        let found = args.connections;
        let message = format!("--connections {found}: expected 1 to {MAX_CONNECTIONS}");
        return Err(Usage(message).into());
    }
    let defaults = args.fields();
    let arms = arms(&args, &defaults)?;
    if args.stored && arms.len() > 1 {
        let message =
            "--stored with several --arm: a stored session has one; give one arm, or none";
        return Err(Usage(message.into()).into());
    }
    let shop = Shop::new(ShopWorld::named(&args.world)?);
    let models = Models::open(&args, &arms, &shop)?;
    let (results, is_paired) = match (&args.experiment, &args.log) {
        (Some(file), Some(log)) => (run_experiment(&args, &models, &shop, (file, log))?, false),
        _ => run_arms(&args, &models, &shop, &arms)?,
    };
    let of = (args.world.as_str(), args.seed);
    let report = Report::new(of, args.sessions, &results, is_paired);
    if args.json {
        outln!("{}", serde_json::to_string(&report)?)?;
    } else {
        report.print()?;
    }
    Ok(())
}

impl Args {
    /// The flags as fields of a request.
    fn fields(&self) -> RequestFields {
        let mut fields = self.prompt.fields();
        fields.k = self.k;
        fields.exclude_seen = self.exclude_seen.then_some(true);
        fields
    }

    fn connections(&self) -> Connections {
        let events = match (self.stored, self.events) {
            (true, _) => EventsTo::Stored,
            (_, true) => EventsTo::Log,
            _ => EventsTo::Requests,
        };
        let count = self.connections;
        Connections { count, events }
    }
}

/// The arms of the flags, with the flags' fields where theirs are absent.
fn arms(args: &Args, defaults: &RequestFields) -> Result<Vec<Arm>, Usage> {
    if args.arm.is_empty() {
        return Ok(vec![Arm::of_flags(defaults)]);
    }
    let mut arms: Vec<Arm> = Vec::new();
    for text in &args.arm {
        let mut arm = Arm::parse(text)?;
        if arms.iter().any(|other| other.name == arm.name) {
            return Err(Usage(format!("--arm {text}: given twice; expected once")));
        }
        if let Maker::Model { fields, .. } = &mut arm.maker {
            fields.fill(defaults);
        }
        arms.push(arm);
    }
    Ok(arms)
}

/// Models of the arms, and how returns are counted.
struct Models {
    responders: BTreeMap<PathBuf, Responder>,
    client: Option<Client>,
    returns: Returns,
}

impl Models {
    fn open(args: &Args, arms: &[Arm], shop: &Shop) -> anyhow::Result<Self> {
        let mut models = Self {
            responders: BTreeMap::new(),
            client: args.via.as_deref().map(Client::new),
            returns: Returns {
                rewards: Rewards::default(),
                lambda: 1.0,
                discount: Discount::default(),
            },
        };
        let mut device = None;
        for arm in arms {
            let Maker::Model { run, .. } = &arm.maker else {
                continue;
            };
            if run.is_some() && models.client.is_some() {
                let message = format!("--arm {}: a server has one run; leave run out", arm.name);
                return Err(Usage(message).into());
            }
            if models.client.is_some() {
                continue;
            }
            let dir = models.run_dir(args, arm)?.to_owned();
            if models.responders.contains_key(&dir) {
                continue;
            }
            if device.is_none() {
                device = Some(args.compute.open()?);
            }
            let run = Run::open(&dir)?;
            let model = run.load(device.as_ref().unwrap_or(&Device::Cpu))?;
            models.responders.insert(dir, Responder::new(run, model)?);
        }
        for responder in models.responders.values() {
            check_items(responder.run(), shop)?;
        }
        if let Some(dir) = &args.run {
            let run = Run::open(dir)?;
            let config = run.config();
            models.returns = Returns {
                rewards: config.rewards,
                lambda: config.lambda,
                discount: config.discount,
            };
        }
        Ok(models)
    }

    fn run_dir<'a>(&self, args: &'a Args, arm: &'a Arm) -> Result<&'a Path, Usage> {
        let own = match &arm.maker {
            Maker::Model { run, .. } => run.as_deref(),
            _ => None,
        };
        own.or(args.run.as_deref()).ok_or_else(|| {
            let message = format!(
                "--arm {}: which run? name one with --run, with run=DIR in the arm, or a server \
                 with --via",
                arm.name
            );
            Usage(message)
        })
    }
}

/// Rejects a run with items that the shop does not have.
fn check_items(run: &Run, shop: &Shop) -> Result<(), Usage> {
    for item in 0..run.items().len() as u32 {
        let raw = run.items().raw(item).unwrap_or_default();
        if shop.item(raw).is_none() {
            return Err(Usage(format!(
                "{}: item {raw} is not in the shop {}; train on a log of `prl synth --like shop \
                 --world {}`",
                run.dir().display(),
                shop.world().name,
                shop.world().name
            )));
        }
    }
    Ok(())
}

/// Simulates all sessions under each arm. False if a server's experiment divided them among its
/// own.
fn run_arms(
    args: &Args,
    models: &Models,
    shop: &Shop,
    arms: &[Arm],
) -> anyhow::Result<(Vec<ArmResult>, bool)> {
    let mut results = Vec::with_capacity(arms.len());
    for arm in arms {
        let start = Instant::now();
        let (outcomes, served) = simulate(args, models, shop, arm)?;
        let seconds = start.elapsed().as_secs_f64();
        if !served.is_empty() && arms.len() == 1 {
            return Ok((by_served_arm(outcomes, served, seconds), false));
        }
        results.push(ArmResult::new(arm.name.clone(), outcomes, seconds));
    }
    Ok((results, true))
}

/// The outcomes of each arm of a server's experiment.
fn by_served_arm(
    outcomes: Vec<Outcome>,
    served: BTreeMap<u64, String>,
    seconds: f64,
) -> Vec<ArmResult> {
    let sessions = outcomes.len() as f64;
    let mut arms: BTreeMap<String, Vec<Outcome>> = BTreeMap::new();
    for (number, outcome) in (0..).zip(outcomes) {
        let arm = served.get(&number).map_or("without an arm", String::as_str);
        arms.entry(arm.to_owned()).or_default().push(outcome);
    }
    let mut results = Vec::with_capacity(arms.len());
    for (arm, outcomes) in arms {
        let seconds = seconds * outcomes.len() as f64 / sessions;
        results.push(ArmResult::new(arm, outcomes, seconds));
    }
    results
}

/// Simulates each session under the arm that an experiment draws for it, and logs it.
fn run_experiment(
    args: &Args,
    models: &Models,
    shop: &Shop,
    (file, log): (&Path, &Path),
) -> anyhow::Result<Vec<ArmResult>> {
    let experiment = Experiment::open(file)?;
    let asks = experiment::asks(&experiment, &args.fields())?;
    // The flags are the only arm of the command, so its run is open.
    let arm = Arm::of_flags(&args.fields());
    let responder = &models.responders[models.run_dir(args, &arm)?];
    let default = args.prompt.ask(responder.run().ask())?;
    let start = Instant::now();
    let by = (responder, shop);
    let mut lists = ExperimentLists::new(&experiment, &asks, by, (default, args.seed), log)?;
    let outcomes = Rollout::new(args, shop, models).run(&mut lists)?;
    let seconds = start.elapsed().as_secs_f64();
    let mut arms = vec![Vec::new(); experiment.arms().len()];
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let assigned = experiment.assign(&session_name(args.seed, number as u64));
        arms[assigned.index].push(outcome);
    }
    let mut results = Vec::with_capacity(arms.len());
    for (arm, outcomes) in experiment.arms().iter().zip(arms) {
        let seconds = seconds * outcomes.len() as f64 / args.sessions as f64;
        results.push(ArmResult::new(arm.name.clone(), outcomes, seconds));
    }
    Ok(results)
}

/// The outcomes of an arm's sessions, in order, and the arms that a server's experiment drew for
/// them.
fn simulate(
    args: &Args,
    models: &Models,
    shop: &Shop,
    arm: &Arm,
) -> anyhow::Result<(Vec<Outcome>, BTreeMap<u64, String>)> {
    let k = args.k.unwrap_or(DEFAULT_K) as usize;
    let rollout = Rollout::new(args, shop, models);
    let outcomes = match &arm.maker {
        Maker::NoLists => rollout.run(&mut NoLists),
        Maker::Random => rollout.run(&mut Random::new(shop, k, args.seed)),
        Maker::Popular => rollout.run(&mut Popular::new(shop, k)),
        Maker::Best(by) => rollout.run(&mut Best { by: *by, k }),
        Maker::Model { fields, .. } => match &models.client {
            Some(client) => {
                let ask = (arm.name.as_str(), fields.as_ref());
                let connections = args.connections();
                let mut lists = ServerLists::new(client, shop, ask, connections, args.seed)?;
                let outcomes = rollout.run(&mut lists)?;
                return Ok((outcomes, lists.into_arms()));
            }
            None => {
                let responder = &models.responders[models.run_dir(args, arm)?];
                let ask = args.prompt.ask(responder.run().ask())?;
                rollout.run(&mut ModelLists::new(
                    responder,
                    shop,
                    fields,
                    (&arm.name, ask),
                )?)
            }
        },
    };
    Ok((outcomes?, BTreeMap::new()))
}

/// A simulation of one arm.
struct Rollout<'a> {
    args: &'a Args,
    shop: &'a Shop,
    returns: Returns,
}

impl<'a> Rollout<'a> {
    fn new(args: &'a Args, shop: &'a Shop, models: &Models) -> Self {
        Self {
            args,
            shop,
            returns: models.returns,
        }
    }

    fn run<L: Lists>(&self, lists: &mut L) -> anyhow::Result<Vec<Outcome>>
    where
        L::Error: Into<anyhow::Error>,
    {
        let mut outcomes = Vec::with_capacity(self.args.sessions as usize);
        let mut first = 0;
        while first < self.args.sessions {
            let numbers = first..(first + CHUNK).min(self.args.sessions);
            first = numbers.end;
            let visits = roll_out(self.shop, self.args.seed, numbers, lists, BATCH);
            let visits: Vec<Visit<'_>> = visits.map_err(Into::into)?;
            for visit in &visits {
                outcomes.push(self.returns.outcome(self.shop, visit));
            }
        }
        Ok(outcomes)
    }
}
