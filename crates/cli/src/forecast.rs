//! `prl forecast`: a forecast of sessions' returns for a finished run.

use std::path::PathBuf;

use prl_core::CalibrationReport;
use prl_dataset::Split;
use prl_eval::CaseSplit;
use prl_runs::Run;

use crate::exit::Usage;
use crate::flags::{Compute, FromRun, named};
use crate::output::outln;

/// Fit a forecast of the return of the rest of a session, and measure its calibration
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: FromRun,
    /// Split on which the calibration is measured: val or test
    #[arg(long, default_value = "test", value_parser = named(&CaseSplit::ALL, CaseSplit::name))]
    split: CaseSplit,
    /// Directory of the prepared dataset that the run was trained on, if it was moved
    #[arg(long)]
    data: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let split = match args.split.split() {
        Some(split @ (Split::Val | Split::Test)) => split,
        _ => return Err(Usage("--split: expected val or test".into()).into()),
    };
    let run = Run::open(&args.from.run)?;
    let data = run.data(args.data.as_deref())?;
    let model = run.load(&args.compute.open()?)?;
    let report = run.fit_forecast(&model, &data, split)?;
    if args.json {
        outln!("{}", serde_json::to_string(&report)?)?;
        return Ok(());
    }
    outln!(
        "{:<12}{:>8}{:>8}{:>10}{:>9}{:>13}",
        "",
        "50 %",
        "90 %",
        "log loss",
        "RMSE",
        "correlation"
    )?;
    print("forecast", &report.forecast)?;
    print("step table", &report.step_table)?;
    outln!(
        "\n{} states of the {} split. The first columns are the shares of returns inside the \
         central intervals; ends are bins, so that a calibrated forecast covers at least its level.",
        report.forecast.cases,
        report.split
    )?;
    let mut shares = String::new();
    for share in &report.forecast.pit {
        shares += &format!(" {share:.3}");
    }
    outln!("probability integral transform, .1 each if calibrated:{shares}")?;
    Ok(())
}

fn print(name: &str, report: &CalibrationReport) -> std::io::Result<()> {
    outln!(
        "{name:<12}{:>8.3}{:>8.3}{:>10.4}{:>9.4}{:>13.3}",
        report.coverage_50,
        report.coverage_90,
        report.log_loss,
        report.rmse,
        report.correlation
    )
}
