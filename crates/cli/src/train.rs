//! `prl train`: a prepared dataset to a run directory.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use prl_encoders::EncoderKind;
use prl_model::{ProcessGroup, SingleProcess};
use prl_runs::{Config, Method};
use prl_train::{Evaluation, Observer, Outcome, Trainer};
use toml::Value;

use crate::exit::{Interrupted, Usage};
use crate::flags::{Compute, encoder, method};
use crate::output::{errln, outln};

/// Bytes of a settings file.
const MAX_SETTINGS_BYTES: u64 = 1 << 20;

/// Train a recommender
///
/// Every setting can stand in a TOML file (--config); flags override it, and the resolved settings are written to the run.
#[derive(clap::Args)]
pub struct Args {
    /// The directory that `prl prepare` wrote
    #[arg(long)]
    data: Option<PathBuf>,
    /// Directory for the run
    #[arg(long)]
    out: PathBuf,
    /// Session encoder [default: gru]
    #[arg(long, value_parser = encoder())]
    encoder: Option<EncoderKind>,
    /// What is trained on top of it [default: prl]
    #[arg(long, value_parser = method())]
    method: Option<Method>,
    /// Settings in TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on from the run's checkpoint, if it has one
    #[arg(long)]
    resume: bool,
    /// Seed of initial values, draws, dropout and prompts [default: 0]
    #[arg(long)]
    seed: Option<i64>,
    /// Passes over the training rows [default: 30]
    #[arg(long)]
    epochs: Option<i64>,
    /// End after so many steps
    #[arg(long)]
    max_steps: Option<i64>,
    /// Rows drawn at each step [default: 256]
    #[arg(long)]
    batch_size: Option<i64>,
    /// Adam's learning rate [default: .01 on RC15, .005 elsewhere]
    #[arg(long)]
    lr: Option<f64>,
    /// Steps between validations [default: 2000]
    #[arg(long)]
    eval_every: Option<i64>,
    /// End after so many validations without a better one
    #[arg(long)]
    patience: Option<i64>,
    /// Dropout of the prompt block [default: 0.3]
    #[arg(long)]
    dropout: Option<f64>,
    /// Discount of the returns [default: 1]
    #[arg(long)]
    lambda: Option<f64>,
    /// Convention of that discount: absolute or relative [default: absolute]
    #[arg(long)]
    discount: Option<String>,
    /// Sessions the mean return of each step is taken over: train or all [default: train]
    #[arg(long)]
    mean_over: Option<String>,
    /// Discount of SQN's and SAC's Q-values [default: 0.5]
    #[arg(long)]
    gamma: Option<f64>,
    /// Steps of SAC with plain cross-entropy at first [default: the protocol's for the encoder and the dataset]
    #[arg(long)]
    warm_up: Option<i64>,
    /// Unit in which returns are fed: ratio or raw [default: ratio]
    #[arg(long)]
    prompt_scale: Option<String>,
    /// What the attention's residual carries: normed or stack [default: normed]
    #[arg(long)]
    residual: Option<String>,
    /// What the state attends to: prompt, or released as in the code released for SASRec [default: prompt]
    #[arg(long)]
    attention: Option<String>,
    /// How a return becomes a token: linear or binned [default: linear]
    #[arg(long)]
    reward_code: Option<String>,
    /// What the bias of the GRU's update gate begins as [default: 1]
    #[arg(long, allow_negative_numbers = true)]
    update_bias: Option<f64>,
    /// Leave out the examples whose state is empty
    #[arg(long)]
    skip_first: bool,
    /// Round what the output layer multiplies in training to bfloat16: quicker on a CPU with AVX-512 BF16, slower on others
    #[arg(long)]
    bf16_head: bool,
    /// Width of an embedded item [default: 64]
    #[arg(long)]
    dim: Option<i64>,
    /// Items of a session that the encoder sees [default: 10]
    #[arg(long)]
    window: Option<i64>,
    /// Factor on the mean return asked for at validation [default: 2]
    #[arg(long)]
    mu: Option<f64>,
    /// Deviation of that factor [default: 0]
    #[arg(long)]
    eps: Option<f64>,
    /// Train one model on all the processes that mpirun started, each on its share of every batch
    #[cfg(feature = "mpi")]
    #[arg(long)]
    mpi: bool,
    #[command(flatten)]
    compute: Compute,
}

impl Args {
    /// The settings file with the flags on top.
    fn config(&self) -> anyhow::Result<Config> {
        let mut table = match &self.config {
            Some(path) => {
                let text = String::from_utf8(prl_fs::read_at_most(path, MAX_SETTINGS_BYTES)?);
                let text = text.with_context(|| path.display().to_string())?;
                let table: toml::Table = text
                    .parse()
                    .map_err(|e: toml::de::Error| Usage(format!("{}: {e}", path.display())))?;
                table
            }
            None => toml::Table::new(),
        };
        let text = |v: &str| Value::String(v.to_owned());
        let top: [(&str, Option<Value>); 19] = [
            (
                "data",
                self.data.as_ref().map(|p| text(&p.to_string_lossy())),
            ),
            ("method", self.method.map(|m| text(m.name()))),
            ("seed", self.seed.map(Value::Integer)),
            ("epochs", self.epochs.map(Value::Integer)),
            ("max_steps", self.max_steps.map(Value::Integer)),
            ("batch_size", self.batch_size.map(Value::Integer)),
            ("lr", self.lr.map(Value::Float)),
            ("eval_every", self.eval_every.map(Value::Integer)),
            ("patience", self.patience.map(Value::Integer)),
            ("lambda", self.lambda.map(Value::Float)),
            ("discount", self.discount.as_deref().map(text)),
            ("mean_over", self.mean_over.as_deref().map(text)),
            (
                "skip_first",
                self.skip_first.then_some(Value::Boolean(true)),
            ),
            ("bf16_head", self.bf16_head.then_some(Value::Boolean(true))),
            ("gamma", self.gamma.map(Value::Float)),
            ("warm_up", self.warm_up.map(Value::Integer)),
            ("mu", self.mu.map(Value::Float)),
            ("eps", self.eps.map(Value::Float)),
            (
                "model",
                Some(Value::Table(toml::Table::new())).filter(|_| !table.contains_key("model")),
            ),
        ];
        set(&mut table, top);
        let model = [
            ("encoder", self.encoder.map(|e| text(e.name()))),
            ("dim", self.dim.map(Value::Integer)),
            ("window", self.window.map(Value::Integer)),
            ("dropout", self.dropout.map(Value::Float)),
            ("prompt_scale", self.prompt_scale.as_deref().map(text)),
            ("residual", self.residual.as_deref().map(text)),
            ("attention", self.attention.as_deref().map(text)),
            ("reward_code", self.reward_code.as_deref().map(text)),
            ("update_bias", self.update_bias.map(Value::Float)),
        ];
        match table.get_mut("model") {
            Some(Value::Table(table)) => set(table, model),
            _ => return Err(Usage("configuration: model must be a table".into()).into()),
        }
        let config: Config = table
            .try_into()
            .map_err(|e| Usage(format!("configuration: {e}")))?;
        if config.data.as_os_str().is_empty() {
            return Err(Usage(
                "name the prepared dataset with --data, or as data in --config".into(),
            )
            .into());
        }
        config.check()?;
        Ok(config)
    }
}

fn set<const N: usize>(table: &mut toml::Table, values: [(&str, Option<Value>); N]) {
    table.extend(
        values
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?))),
    );
}

pub fn run(args: Args) -> anyhow::Result<()> {
    #[cfg(feature = "mpi")]
    if args.mpi {
        return finish(crate::mpi::with_process_group(|ranks| {
            train(&args, &ranks)
        })?);
    }
    let alone: Arc<dyn ProcessGroup> = Arc::new(SingleProcess);
    finish(train(&args, &alone)?)
}

/// Trains as one of the ranks; what it came to is told by the first.
fn train(args: &Args, ranks: &Arc<dyn ProcessGroup>) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let mut config = args.config()?;
    config.data = std::path::absolute(&config.data)?;
    let device = args.compute.open()?;
    static STOP: AtomicBool = AtomicBool::new(false);
    // The first signal asks for a checkpoint, the second insists.
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?;
    let is_first = ranks.rank() == 0;
    let mut bar = Bar::new(is_first.then_some(began));
    let outcome = Trainer::new(&config, &args.out)
        .device(&device)
        .resume(args.resume)
        .process_group(ranks)
        .stop_flag(&STOP)
        .run(&mut bar)?;
    bar.bar.finish_and_clear();
    if let (true, Outcome::Finished(m)) = (is_first, &outcome) {
        let out = args.out.display();
        outln!(
            "{out}: model {}, best at step {} of {}, {:.0} s",
            m.model,
            m.best_step,
            m.steps,
            m.seconds
        )?;
    }
    Ok(outcome)
}

fn finish(outcome: Outcome) -> anyhow::Result<()> {
    match outcome {
        Outcome::Finished(_) => Ok(()),
        Outcome::Interrupted(step) => Err(Interrupted { step }.into()),
    }
}

/// A progress bar on a terminal; a line for the first step and for each validation anywhere.
struct Bar {
    bar: ProgressBar,
    /// When the command began, until its first step is taken.
    began: Option<Instant>,
}

impl Bar {
    /// Without a beginning, it shows nothing.
    fn new(began: Option<Instant>) -> Self {
        let bar = if began.is_some() && std::io::stderr().is_terminal() {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template(
            "{bar:30} {pos}/{len} steps  {per_sec}  {eta} left  {msg}",
        );
        Self {
            bar: style.map(|s| bar.clone().with_style(s)).unwrap_or(bar),
            began,
        }
    }
}

impl Observer for Bar {
    fn step(&mut self, step: u64, total: u64, loss: f64) {
        if let Some(began) = self.began.take() {
            let seconds = began.elapsed().as_secs_f64();
            self.bar
                .suspend(|| errln!("first step after {seconds:.2} s, loss {loss:.4}"));
        }
        self.bar.set_length(total);
        self.bar.set_position(step);
        self.bar.set_message(format!("loss {loss:.4}"));
    }

    fn evaluated(&mut self, e: &Evaluation, is_best: bool) {
        let share = |x: Option<f64>| x.map_or("-".into(), |x| format!("{x:.4}"));
        let (purchase, click) = (share(e.val.purchase.hr5), share(e.val.click.hr5));
        let loss = share(e.loss);
        let mark = if is_best { "  best so far" } else { "" };
        self.bar.suspend(|| {
            errln!(
                "step {:>7}  epoch {:>6.2}  loss {loss}  val HR@5 purchase {purchase} click {click}{mark}",
                e.step,
                e.epoch
            );
        });
    }
}
