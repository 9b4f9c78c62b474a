//! `prl synth`: synthetic raw logs in the formats of public datasets, and the log of a simulated
//! shop.

use std::path::PathBuf;

use clap::ValueEnum;
use prl_synth::shop::{ShopWorld, synth_shop};
use prl_synth::{Like, Options, SyntheticFile, synth};

use crate::exit::Usage;
use crate::output::{errln, outln};

/// Generate a synthetic raw log in the format and at the scale of a public one, or that of a shop
#[derive(clap::Args)]
pub struct Args {
    /// The public log to imitate, or shop: a log of simulated visitors, which `prl simulate` then
    /// shows a model's lists to
    #[arg(long, value_enum)]
    like: Log,
    /// Number of sessions after the protocol's filters; the rest scales with it [default: the
    /// log's]. A shop keeps its items with any number of sessions
    #[arg(long)]
    sessions: Option<u64>,
    /// Parameters of the shop, by name [default: base]
    #[arg(long, value_name = "NAME")]
    world: Option<String>,
    /// Seed; equal seeds give equal files
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Directory for the raw files
    #[arg(long)]
    out: PathBuf,
}

/// Log to generate.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Log {
    Tiny,
    #[value(name = "retailrocket")]
    RetailRocket,
    Rc15,
    Shop,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let like = match args.like {
        Log::Tiny => Like::Tiny,
        Log::RetailRocket => Like::RetailRocket,
        Log::Rc15 => Like::Rc15,
        Log::Shop => return shop(&args),
    };
    if args.world.is_some() {
        let message = "--world names parameters of a shop; leave it out, or use --like shop";
        return Err(Usage(message.into()).into());
    }
    let options = Options {
        like,
        sessions: args.sessions,
        seed: args.seed,
    };
    let summary = synth(&options, &args.out)?;
    list(&args, &summary.files)
}

fn shop(args: &Args) -> anyhow::Result<()> {
    let world = ShopWorld::named(args.world.as_deref().unwrap_or("base"))?;
    let log = synth_shop(world, args.sessions, args.seed, &args.out)?;
    list(args, &log.files)?;
    errln!(
        "{} sessions, {} views, {} purchases; prepare them with\n\
         prl prepare --source csv --input {} --columns session=session,time=time,item=item,\
         event=event --click view --purchase purchase --out DIR\n\
         (prices as rewards of purchases: add ,value=value)",
        log.sessions,
        log.views,
        log.purchases,
        args.out.join("events.csv").display()
    );
    Ok(())
}

fn list(args: &Args, files: &[SyntheticFile]) -> anyhow::Result<()> {
    for file in files {
        outln!(
            "{}  {} rows",
            args.out.join(&file.name).display(),
            file.rows
        )?;
    }
    Ok(())
}
