//! `prl prepare`: converts a raw log to a prepared dataset.

use std::path::PathBuf;

use clap::ValueEnum;
use prl_data::{Columns, Options, Source, SplitRule, Table, TimeUnit, prepare, reexec_guard};
use prl_dataset::Counts;

use crate::exit::Usage;
use crate::output::outln;

mod steps;

use steps::{KindArgs, OutputArgs, StepArgs};

/// Convert a raw log to a prepared dataset: filtered, indexed and split
#[derive(clap::Args)]
pub struct Args {
    /// Format of the log
    #[arg(long)]
    source: Format,
    /// The log: a file, or a directory whose files are read in the order of their names (of csv,
    /// parquet, inter and retailrocket; of rc15, --clicks and --buys). .gz and .zst are decompressed
    #[arg(long, required_if_eq_any([("source", "retailrocket"), ("source", "csv"), ("source", "parquet"), ("source", "inter")]))]
    input: Option<PathBuf>,
    /// RC15's clicks (yoochoose-clicks.dat)
    #[arg(long, required_if_eq("source", "rc15"))]
    clicks: Option<PathBuf>,
    /// RC15's buys (yoochoose-buys.dat)
    #[arg(long, required_if_eq("source", "rc15"))]
    buys: Option<PathBuf>,
    /// Sessions to sample from RC15
    #[arg(long, default_value_t = Source::RC15_SAMPLE)]
    sample: usize,
    /// Columns of a csv or parquet log: session=..,time=..,item=..[,event=..]
    #[arg(long, required_if_eq_any([("source", "csv"), ("source", "parquet")]))]
    columns: Option<Columns>,
    /// Field separator of a csv log; a tab is written "$(printf '\t')" or $'\t'
    #[arg(long, default_value_t = ',')]
    delimiter: char,
    /// Unit of numeric times
    #[arg(long, default_value = "auto")]
    time_unit: Unit,
    /// Values of the event column that are purchases
    #[arg(long, value_delimiter = ',', value_name = "V,..")]
    purchase: Vec<String>,
    /// Values of the event column that are clicks
    #[arg(long, value_delimiter = ',', value_name = "V,..")]
    click: Vec<String>,
    /// Drop and count events of any other value
    #[arg(long)]
    drop_other_events: bool,
    /// Drop sessions of a csv, parquet or inter log with fewer events; each filter runs once, unless
    /// --filter-until-stable is given
    #[arg(long, default_value_t = 1, value_name = "N")]
    min_session_events: usize,
    /// After that, drop items with fewer events
    #[arg(long, default_value_t = 1, value_name = "N")]
    min_item_events: usize,
    /// Rule that splits the events into train, val and test
    #[arg(long, default_value = "random")]
    split: Rule,
    /// Share of the sessions for validation
    #[arg(long, default_value_t = 0.1)]
    val: f64,
    /// Share of the sessions for testing
    #[arg(long, default_value_t = 0.1)]
    test: f64,
    /// Longest session in events; longer ones are dropped, or cut as --long-sessions says (0 keeps
    /// all). The protocol's last filter: "before the length filter" counts what precedes it, and
    /// long_session the rows that it drops
    #[arg(long, default_value_t = 50, value_name = "N")]
    max_length: usize,
    /// Seed of sampling and splitting
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Also write the events as this Parquet file
    #[arg(long, value_name = "FILE")]
    parquet: Option<PathBuf>,
    /// Print the manifest as one JSON object
    #[arg(long)]
    json: bool,
    /// Directory for the prepared dataset
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    steps: StepArgs,
    #[command(flatten)]
    kinds: KindArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Retailrocket,
    Rc15,
    Csv,
    Parquet,
    /// Atomic files of RecBole
    Inter,
}

#[derive(Clone, Copy, ValueEnum)]
enum Rule {
    /// Random sessions
    Random,
    /// Sessions by the time of their last event
    Time,
    /// The last event of each session for testing, the one before for validation
    LeaveLastOut,
}

#[derive(Clone, Copy, ValueEnum)]
enum Unit {
    /// Derived from the magnitude
    Auto,
    S,
    Ms,
    Us,
    Ns,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let (out, json) = (args.out.clone(), args.json);
    let options = options(args)?;
    reexec_guard(&options)?;
    let manifest = prepare(&options, &out)?;
    if json {
        outln!("{}", serde_json::to_string(&manifest)?)?;
        return Ok(());
    }
    let counts = &manifest.input.counts;
    outln!("{}: dataset {}", out.display(), manifest.dataset)?;
    outln!(
        "{:<28}{:>12}{:>12}{:>12}{:>12}",
        "",
        "sessions",
        "items",
        "clicks",
        "purchases"
    )?;
    print_counts("before the length filter", &counts.before_length_filter)?;
    print_counts("after", &counts.after_length_filter)?;
    for split in ["train", "val", "test"] {
        print_counts(split, &manifest.splits[split])?;
    }
    for (reason, n) in &counts.dropped {
        outln!("dropped {:<20}{n:>12} rows", reason.replace('_', " "))?;
    }
    Ok(())
}

fn print_counts(name: &str, counts: &Counts) -> std::io::Result<()> {
    outln!(
        "{name:<28}{:>12}{:>12}{:>12}{:>12}",
        counts.sessions,
        counts.items,
        counts.clicks,
        counts.purchases
    )
}

fn options(args: Args) -> anyhow::Result<Options> {
    let missing = |flag: &str| Usage(format!("--{flag} is missing; this --source requires it"));
    let names_kinds = args.kinds.is_given();
    if names_kinds && matches!(args.source, Format::Retailrocket | Format::Rc15) {
        return Err(Usage(
            "--reward and --keep-kinds are for csv, parquet and inter; read the log's files with --source csv".into(),
        )
        .into());
    }
    let kinds = args.kinds.kinds()?;
    let table = Table {
        columns: args.columns,
        time_unit: match args.time_unit {
            Unit::Auto => TimeUnit::Auto,
            Unit::S => TimeUnit::Seconds,
            Unit::Ms => TimeUnit::Milliseconds,
            Unit::Us => TimeUnit::Microseconds,
            Unit::Ns => TimeUnit::Nanoseconds,
        },
        click: args.click,
        purchase: args.purchase,
        drop_other_events: args.drop_other_events,
        min_session_events: args.min_session_events,
        min_item_events: args.min_item_events,
        kinds,
    };
    let input = args.input.ok_or_else(|| missing("input"));
    let source = match args.source {
        Format::Retailrocket => Source::RetailRocket { input: input? },
        Format::Rc15 => Source::Rc15 {
            clicks: args.clicks.ok_or_else(|| missing("clicks"))?,
            buys: args.buys.ok_or_else(|| missing("buys"))?,
            sample: args.sample,
        },
        Format::Csv => Source::Csv {
            input: input?,
            delimiter: args.delimiter,
            table,
        },
        Format::Parquet => Source::Parquet {
            input: input?,
            table,
        },
        Format::Inter => Source::Inter {
            input: input?,
            table,
        },
    };
    let mut options = Options::new(source);
    let split = match args.split {
        Rule::Random => SplitRule::Random,
        Rule::Time => SplitRule::Time,
        Rule::LeaveLastOut => SplitRule::LeaveLastOut,
    };
    (options.steps, options.split) = args.steps.steps(split);
    options.output = args.output.output();
    (options.val_fraction, options.test_fraction) = (args.val, args.test);
    options.max_length = (args.max_length > 0).then_some(args.max_length);
    (options.seed, options.parquet) = (args.seed, args.parquet);
    Ok(options)
}
