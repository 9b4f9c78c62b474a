//! `prl prepare`: converts a raw log to a prepared dataset.

use std::path::PathBuf;

use clap::ValueEnum;
use prl_data::{Columns, Delimiter, Options, Source, SplitRule, Table, prepare, reexec_guard};
use prl_dataset::Counts;

use crate::exit::Usage;
use crate::output::outln;
use inputs::InputArgs;
use text::TextArgs;

mod inputs;
mod text;

/// Convert a raw log to a prepared dataset: filtered, indexed and split
#[derive(clap::Args)]
pub struct Args {
    /// Format of the log
    #[arg(long)]
    source: Format,
    #[command(flatten)]
    inputs: InputArgs,
    /// RC15's clicks (yoochoose-clicks.dat)
    #[arg(long, required_if_eq("source", "rc15"))]
    clicks: Option<PathBuf>,
    /// RC15's buys (yoochoose-buys.dat)
    #[arg(long, required_if_eq("source", "rc15"))]
    buys: Option<PathBuf>,
    /// Sessions to sample from RC15
    #[arg(long, default_value_t = Source::RC15_SAMPLE)]
    sample: usize,
    /// Columns of a csv, parquet or jsonl log: session=..,time=..,item=..[,event=..][,split=..]. A
    /// column of splits holds train, val or test (or 0, 1 or 2). Columns of parquet and jsonl may
    /// hold lists, a session a row; without time=.. their order is the time. A time of two columns
    /// of text is time=DATE+CLOCK; a field inside another of jsonl is OUTER.INNER
    #[arg(long, required_if_eq_any([("source", "csv"), ("source", "parquet"), ("source", "jsonl")]))]
    columns: Option<Columns>,
    #[command(flatten)]
    text: TextArgs,
    /// Values of the event column that are purchases
    #[arg(long, value_delimiter = ',', value_name = "V,..")]
    purchase: Vec<String>,
    /// Values of the event column that are clicks
    #[arg(long, value_delimiter = ',', value_name = "V,..")]
    click: Vec<String>,
    /// Drop and count events of any other value
    #[arg(long)]
    drop_other_events: bool,
    /// Drop sessions of a csv, parquet or inter log with fewer events
    #[arg(long, default_value_t = 1, value_name = "N")]
    min_session_events: usize,
    /// After that, drop items with fewer events
    #[arg(long, default_value_t = 1, value_name = "N")]
    min_item_events: usize,
    /// Rule that splits the events into train, val and test [default: given if the log gives its
    /// split, else random]
    #[arg(long)]
    split: Option<Rule>,
    /// Drop sessions with more events; 0 keeps all
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
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Retailrocket,
    Rc15,
    Csv,
    Parquet,
    /// Atomic files of RecBole
    Inter,
    /// JSON lines: an event a line, or a session with a list of events
    Jsonl,
}

#[derive(Clone, Copy, ValueEnum)]
enum Rule {
    /// Random sessions
    Random,
    /// Sessions by the time of their last event
    Time,
    /// The last event of each session for testing, the one before for validation
    LeaveLastOut,
    /// The split that the log gives: split=.. in --columns, or --train, --valid and --test
    Given,
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
    if args.text.has_delimiter() && !matches!(args.source, Format::Csv | Format::Inter) {
        let why = "--delimiter is for csv and inter; this --source has a format of its own";
        return Err(Usage(why.into()).into());
    }
    let missing = |flag: &str| Usage(format!("--{flag} is missing; this --source requires it"));
    let table = Table {
        columns: args.columns,
        time_unit: args.text.time_unit(),
        click: args.click,
        purchase: args.purchase,
        drop_other_events: args.drop_other_events,
        min_session_events: args.min_session_events,
        min_item_events: args.min_item_events,
        format: args.text.format(),
        rules: args.text.rules(),
    };
    let inputs = &args.inputs;
    let by_column = table.columns.as_ref().is_some_and(|c| c.split.is_some());
    let gives_split = by_column || inputs.gives_split();
    let source = match args.source {
        Format::Retailrocket => Source::RetailRocket {
            input: inputs.file()?,
        },
        Format::Rc15 if inputs.gives_split() => return Err(missing("clicks").into()),
        Format::Rc15 => Source::Rc15 {
            clicks: args.clicks.ok_or_else(|| missing("clicks"))?,
            buys: args.buys.ok_or_else(|| missing("buys"))?,
            sample: args.sample,
        },
        Format::Csv => Source::Csv {
            input: inputs.inputs()?,
            delimiter: args.text.delimiter(Delimiter::COMMA),
            table,
        },
        Format::Parquet => Source::Parquet {
            input: inputs.inputs()?,
            table,
        },
        Format::Inter => Source::Inter {
            input: inputs.inputs()?,
            delimiter: args.text.delimiter(Delimiter::TAB),
            table,
        },
        Format::Jsonl => Source::Jsonl {
            input: inputs.inputs()?,
            table,
        },
    };
    let mut options = Options::new(source);
    options.split = match args.split {
        None if gives_split => SplitRule::Given,
        None | Some(Rule::Random) => SplitRule::Random,
        Some(Rule::Time) => SplitRule::Time,
        Some(Rule::LeaveLastOut) => SplitRule::LeaveLastOut,
        Some(Rule::Given) => SplitRule::Given,
    };
    let is_given = options.split == SplitRule::Given;
    (options.val_fraction, options.test_fraction) = inputs.shares(is_given)?;
    options.max_length = (args.max_length > 0).then_some(args.max_length);
    (options.seed, options.parquet) = (args.seed, args.parquet);
    Ok(options)
}
