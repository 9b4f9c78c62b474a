//! `prl prepare`: converts a raw log to a prepared dataset.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ValueEnum;
use prl_data::{Columns, Delimiter, Options, Source, SplitRule, Table, prepare, reexec_guard};
use prl_dataset::Manifest;

use crate::exit::Usage;
use crate::output::outln;
use crate::program::program;
use inputs::InputArgs;
use steps::{KindArgs, OutputArgs, StepArgs};
use text::TextArgs;

mod append;
mod inputs;
mod report;
mod steps;
mod text;

/// Convert a raw log to a prepared dataset: filtered, indexed and split
#[derive(clap::Args)]
pub struct Args {
    /// Format of the log
    #[arg(long, required_unless_present = "append")]
    source: Option<Format>,
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
    /// Columns of a csv, parquet or jsonl log: session=..,time=..,item=.. and optionally event=..,
    /// split=.. and value=... A column of splits holds train, val or test (or 0, 1 or 2); one of
    /// values, such as prices, rewards of events whose kind has none by --reward. Columns of
    /// parquet and jsonl may hold lists, a session a row; without time=.. their order is the time.
    /// A time of two columns of text is time=DATE+CLOCK; a field inside another of jsonl is
    /// OUTER.INNER
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
    /// Drop sessions of a csv, parquet or inter log with fewer events; each filter runs once,
    /// unless --filter-until-stable is given
    #[arg(long, default_value_t = 1, value_name = "N")]
    min_session_events: usize,
    /// After that, drop items with fewer events
    #[arg(long, default_value_t = 1, value_name = "N")]
    min_item_events: usize,
    /// Rule that splits the events into train, val and test [default: given if the log gives its
    /// split, else random]
    #[arg(long)]
    split: Option<Rule>,
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
    /// Directory for the prepared dataset [default with --append: the dataset's own]
    #[arg(long, required_unless_present = "append")]
    out: Option<PathBuf>,
    /// Add the events of --input to the dataset in this directory, which was prepared with
    /// --keep-log. Its flags apply and need not be repeated; the result is that of preparing all
    /// files at once. Runs of the dataset before can then neither be evaluated nor resumed, unless
    /// --out names another directory
    #[arg(long, value_name = "DIR")]
    append: Option<PathBuf>,
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
    /// JSON lines: an event a line, or a session with a list of events
    Jsonl,
    /// Log of `prl serve --experiment-log`; --columns is needed to read values alone
    ArmsLog,
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

/// Prepares as the flags say and prints the report. `tokens` are the command's name and its flags,
/// as they were given.
pub fn run(args: Args, tokens: &[OsString]) -> anyhow::Result<()> {
    let preparation = Preparation::new(args, tokens)?;
    let mut again = program()?;
    again.args(tokens);
    reexec_guard(&preparation.options, again)?;
    let out = &preparation.out;
    let before = Manifest::read(out).ok().map(|manifest| manifest.dataset);
    let manifest = preparation.run()?;
    if preparation.json {
        outln!("{}", serde_json::to_string(&manifest)?)?;
        return Ok(());
    }
    let same = match before {
        Some(before) if before == manifest.dataset => ", the same as before",
        _ => "",
    };
    outln!("{}: dataset {}{same}", out.display(), manifest.dataset)?;
    report::print(&manifest)?;
    Ok(())
}

/// A preparation with all that its flags and those of an earlier one say.
pub struct Preparation {
    options: Options,
    out: PathBuf,
    /// Directory of the dataset to append to.
    from: Option<PathBuf>,
    json: bool,
}

impl Preparation {
    fn new(args: Args, tokens: &[OsString]) -> anyhow::Result<Self> {
        let from = args.append.clone();
        let args = match &from {
            Some(dir) => append::with_flags_of(dir, tokens)?,
            None => args,
        };
        let out = args.out.clone().or_else(|| from.clone());
        let out = out.ok_or_else(|| Usage("--out is missing".into()))?;
        let json = args.json;
        let mut options = options(args)?;
        if options.output.keep_log {
            options.output.arguments = append::given_flags(tokens)?;
        }
        Ok(Self {
            options,
            out,
            from,
            json,
        })
    }

    fn run(&self) -> anyhow::Result<Manifest> {
        Ok(match &self.from {
            Some(dir) => prl_data::append(&self.options, dir, &self.out)?,
            None => prepare(&self.options, &self.out)?,
        })
    }
}

/// Prepares as the flags say, without a report.
pub(crate) fn quietly(args: Args, tokens: &[OsString]) -> anyhow::Result<Manifest> {
    let preparation = Preparation::new(args, tokens)?;
    if let Source::Parquet { .. } = preparation.options.source {
        let what = "a Parquet file is read in a process of its own; run the command prepare";
        return Err(Usage(what.into()).into());
    }
    preparation.run()
}

/// Prepares a frame as the flags say: a table whose source they cannot name.
pub(crate) fn of_frame(mut args: Args, frame: prl_data::LazyFrame) -> anyhow::Result<Manifest> {
    if args.append.is_some() || args.output.keeps_log() {
        let what = "append and keep_log are for files; write the frame as Parquet first";
        return Err(Usage(what.into()).into());
    }
    let out = args.out.take();
    let out = out.ok_or_else(|| Usage("out is missing".into()))?;
    // The flags of a table are those of a csv log; its file is replaced.
    args.source = Some(Format::Csv);
    args.inputs.set_file("frame".into());
    let mut options = options(args)?;
    if let Source::Csv { table, .. } = options.source {
        options.source = Source::Frame { table };
    }
    Ok(prl_data::prepare_frame(frame, &options, &out)?)
}

/// A table of the flags, with the names and kinds of an experiment's log where they give none.
fn of_arms_log(table: Table) -> Table {
    let default = Table::of_arms_log(false);
    Table {
        columns: table.columns.or(default.columns),
        time_unit: default.time_unit,
        click: or(table.click, default.click),
        purchase: or(table.purchase, default.purchase),
        ..table
    }
}

fn or(given: Vec<String>, default: Vec<String>) -> Vec<String> {
    if given.is_empty() { default } else { given }
}

fn options(args: Args) -> anyhow::Result<Options> {
    let format = args
        .source
        .ok_or_else(|| Usage("--source is missing".into()))?;
    if args.text.has_delimiter() && !matches!(format, Format::Csv | Format::Inter) {
        let why = "--delimiter is for csv and inter; this --source has a format of its own";
        return Err(Usage(why.into()).into());
    }
    let missing = |flag: &str| Usage(format!("--{flag} is missing; this --source requires it"));
    let names_kinds = args.kinds.is_given();
    if names_kinds && matches!(format, Format::Retailrocket | Format::Rc15) {
        return Err(Usage(
            "--reward and --keep-kinds are for csv, parquet and inter; read the log's files with --source csv".into(),
        )
        .into());
    }
    let kinds = args.kinds.kinds()?;
    let table = Table {
        columns: args.columns,
        time_unit: args.text.time_unit(),
        click: args.click,
        purchase: args.purchase,
        drop_other_events: args.drop_other_events,
        min_session_events: args.min_session_events,
        min_item_events: args.min_item_events,
        kinds,
        format: args.text.format(),
        rules: args.text.rules(),
    };
    let inputs = &args.inputs;
    let by_column = table.columns.as_ref().is_some_and(|c| c.split.is_some());
    let gives_split = by_column || inputs.gives_split();
    let source = match format {
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
        Format::ArmsLog => Source::ArmsLog {
            input: inputs.inputs()?,
            table: of_arms_log(table),
        },
    };
    let mut options = Options::new(source);
    let split = match args.split {
        None if gives_split => SplitRule::Given,
        None | Some(Rule::Random) => SplitRule::Random,
        Some(Rule::Time) => SplitRule::Time,
        Some(Rule::LeaveLastOut) => SplitRule::LeaveLastOut,
        Some(Rule::Given) => SplitRule::Given,
    };
    (options.steps, options.split) = args.steps.steps(split);
    options.output = args.output.output();
    let is_given = options.split == SplitRule::Given;
    (options.val_fraction, options.test_fraction) = inputs.shares(is_given)?;
    options.max_length = (args.max_length > 0).then_some(args.max_length);
    (options.seed, options.parquet) = (args.seed, args.parquet);
    Ok(options)
}
