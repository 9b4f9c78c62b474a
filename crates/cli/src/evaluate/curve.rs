//! `prl evaluate --curve`: the effect of prompts, beside that of a tilt.

use prl_core::{PromptSpec, TargetReturn};
use prl_eval::{Interval, Metric};
use prl_runs::{Change, CurvePoint, MAX_TILT, NoTilt};
use serde::Serialize;

use crate::exit::Usage;
use crate::output::outln;

/// Prompts of a curve unless others are named. A model without a prompt has the tilt only.
const DEFAULTS: [&str; 4] = [
    "mu=0.25,0.5,1,2,4",
    "quantile=0.1,0.5,0.9",
    "tilt=0.25,0.5,1,2,4",
    "oracle",
];

/// Losses of click HR@20 at which the dials are compared.
const LOSSES: [f64; 4] = [0.0025, 0.005, 0.01, 0.02];

/// The dials of a model.
#[derive(Clone, Copy, Debug)]
pub struct Dials {
    /// Whether it takes a target return.
    pub is_prompted: bool,
    /// Whether its scores can be tilted.
    pub tilt: Result<(), NoTilt>,
}

/// A dial: the name, and what a setting asks for in place of the base.
#[derive(Clone, Copy)]
struct Dial {
    name: &'static str,
    /// Whether it needs scores that can be tilted; else it needs a target return.
    is_tilt: bool,
    set: fn(PromptSpec, f64) -> PromptSpec,
}

/// All dials with settings.
const DIALS: [Dial; 5] = [
    Dial {
        name: "mu",
        is_tilt: false,
        set: |base, mu| with_target(base, TargetReturn::Relative { mu, eps: 0.0 }),
    },
    Dial {
        name: "quantile",
        is_tilt: false,
        set: |base, q| with_target(base, TargetReturn::Quantile(q)),
    },
    Dial {
        name: "state_quantile",
        is_tilt: false,
        set: |base, q| with_target(base, TargetReturn::StateQuantile(q)),
    },
    Dial {
        name: "kappa",
        is_tilt: false,
        set: |base, kappa| with_target(base, TargetReturn::Adaptive { kappa }),
    },
    Dial {
        name: "tilt",
        is_tilt: true,
        set: |base, tilt| PromptSpec { tilt, ..base },
    },
];

/// The session's own return as the prompt: a dial without settings.
const ORACLE: &str = "oracle";

fn with_target(base: PromptSpec, target: TargetReturn) -> PromptSpec {
    PromptSpec { target, ..base }
}

/// A prompt of a curve.
pub struct Asked {
    /// The dial that it is a setting of.
    pub(crate) family: &'static str,
    /// The setting; `None` for the base and the oracle.
    pub(crate) value: Option<f64>,
    /// The prompt.
    pub prompt: PromptSpec,
}

/// The prompts of a curve: the base, then every setting of the dials named, or of all that the
/// model has.
///
/// # Errors
/// For a dial that does not exist or that the model does not have, or a setting out of its range.
pub fn asked(dials: &[String], base: PromptSpec, model: Dials) -> Result<Vec<Asked>, Usage> {
    let mut asked = vec![Asked {
        family: "base",
        value: None,
        prompt: base,
    }];
    for dial in dials {
        add(&mut asked, dial, base, model)?;
    }
    if dials.is_empty() {
        for dial in DEFAULTS {
            let has = if dial.starts_with("tilt") {
                model.tilt.is_ok()
            } else {
                model.is_prompted
            };
            if has {
                add(&mut asked, dial, base, model)?;
            }
        }
    }
    match model.tilt {
        Err(cause) if asked.len() == 1 => Err(no_dial(&cause)),
        _ => Ok(asked),
    }
}

fn no_dial(cause: &NoTilt) -> Usage {
    Usage(format!("--curve: this model has no such dial: {cause}"))
}

/// Adds the settings of one dial.
fn add(asked: &mut Vec<Asked>, text: &str, base: PromptSpec, model: Dials) -> Result<(), Usage> {
    let (name, values) = text.split_once('=').unwrap_or((text, ""));
    let dial = DIALS.iter().find(|dial| dial.name == name);
    match (dial, &model.tilt) {
        (Some(dial), Err(cause)) if dial.is_tilt => return Err(no_dial(cause)),
        (Some(dial), _) if dial.is_tilt => {}
        (None, _) if text != ORACLE => {
            return Err(Usage(format!(
                "--curve {text}: expected mu=.., quantile=.., state_quantile=.., kappa=.., tilt=.. \
                 or oracle"
            )));
        }
        _ if !model.is_prompted => {
            let what = "--curve: this model takes no target return; name tilt=.. alone";
            return Err(Usage(what.into()));
        }
        _ => {}
    }
    let Some(dial) = dial else {
        asked.push(Asked {
            family: ORACLE,
            value: None,
            prompt: with_target(base, TargetReturn::Oracle),
        });
        return Ok(());
    };
    for value in values.split(',') {
        let invalid = |cause: &str| Usage(format!("--curve {text}: {value:?}: {cause}"));
        let number: f64 = value.parse().map_err(|_| invalid("expected a number"))?;
        let prompt = (dial.set)(base, number);
        let tilts = -MAX_TILT..=MAX_TILT;
        if !prompt.target.is_valid() || !tilts.contains(&prompt.tilt) {
            return Err(invalid("out of the range of this dial"));
        }
        asked.push(Asked {
            family: dial.name,
            value: Some(number),
            prompt,
        });
    }
    Ok(())
}

/// A curve as JSON.
#[derive(Serialize)]
struct Output<'a> {
    points: Vec<OutputPoint<'a>>,
    at_equal_loss: Vec<EqualLoss>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oracle: Option<String>,
}

#[derive(Serialize)]
struct OutputPoint<'a> {
    family: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(flatten)]
    point: &'a CurvePoint,
}

/// The purchase rate that a dial reaches at a loss of click HR@20.
#[derive(Debug, PartialEq, Serialize)]
struct EqualLoss {
    family: &'static str,
    /// Loss of click HR@20 against the base.
    loss: f64,
    /// Purchase rate, in other sessions, of the items shown; `None` if the dial's settings do not
    /// reach this loss.
    held_out_rate: Option<f64>,
}

/// Prompts compared: what each asks and what it gives.
pub struct Curve {
    /// The prompts.
    pub asked: Vec<Asked>,
    /// The effect of each.
    pub points: Vec<CurvePoint>,
}

impl Curve {
    /// The curve as JSON has it.
    pub fn output(&self) -> impl Serialize {
        let Self { asked, points } = self;
        let mut named = Vec::with_capacity(points.len());
        for (asked, point) in asked.iter().zip(points) {
            named.push(OutputPoint {
                family: asked.family,
                value: asked.value,
                point,
            });
        }
        Output {
            points: named,
            at_equal_loss: at_equal_loss(asked, points),
            oracle: oracle_sentence(asked, points),
        }
    }

    /// Prints a table.
    pub fn print(&self) -> anyhow::Result<()> {
        print(&self.asked, &self.points)
    }
}

fn print(asked: &[Asked], points: &[CurvePoint]) -> anyhow::Result<()> {
    let losses = at_equal_loss(asked, points);
    let oracle = oracle_sentence(asked, points);
    outln!(
        "{:<20}{:>10}{:>9}{:>20}{:>10}{:>9}{:>9}{:>9}{:>19}{:>9}",
        "prompt",
        "click HR",
        "NDCG",
        "change of click HR",
        "purch. HR",
        "NDCG",
        "overlap",
        "bought",
        "purchase rate of",
        "coverage"
    )?;
    outln!(
        "{:<20}{:>10}{:>9}{:>20}{:>10}{:>9}{:>9}{:>9}{:>19}{:>9}",
        "",
        "@20",
        "@20",
        "(95% interval)",
        "@20",
        "@20",
        "of base",
        "items",
        "items shown, %",
        "@20"
    )?;
    for (asked, point) in asked.iter().zip(points) {
        let (click, purchase) = (&point.report.scores.click, &point.report.scores.purchase);
        outln!(
            "{:<20}{:>10}{:>9}{:>20}{:>10}{:>9}{:>9.3}{:>9}{:>19}{:>9}",
            name(asked),
            number(*click.get(Metric::Hr20)),
            number(*click.get(Metric::Ndcg20)),
            change(point.click_change.as_ref()),
            number(*purchase.get(Metric::Hr20)),
            number(*purchase.get(Metric::Ndcg20)),
            point.overlap,
            share(point.bought_share),
            rate(point.held_out_rate, point.held_out_interval),
            share(point.report.coverage_at_20)
        )?;
    }
    outln!(
        "\nThe purchase rate is that of the items in other sessions of this split, with its 95% \
         interval."
    )?;
    print_losses(&losses)?;
    if let Some(sentence) = oracle {
        outln!("\n{sentence}")?;
    }
    Ok(())
}

/// Prints what each dial reaches at equal losses of click HR@20.
fn print_losses(losses: &[EqualLoss]) -> anyhow::Result<()> {
    let mut families: Vec<&str> = Vec::new();
    for loss in losses {
        if !families.contains(&loss.family) {
            families.push(loss.family);
        }
    }
    if families.is_empty() {
        return Ok(());
    }
    outln!("\nPurchase rate, %, at a loss of click HR@20 (linear between the settings):")?;
    let mut head = format!("{:<14}", "loss");
    for family in &families {
        head += &format!("{family:>16}");
    }
    outln!("{head}")?;
    for loss in LOSSES {
        let mut line = format!("{loss:<14}");
        for family in &families {
            let found = losses
                .iter()
                .find(|l| l.family == *family && l.loss == loss);
            let rate = found.and_then(|found| found.held_out_rate);
            line += &format!("{:>16}", percent(rate));
        }
        outln!("{line}")?;
    }
    Ok(())
}

fn name(asked: &Asked) -> String {
    match asked.value {
        Some(value) => format!("{} {value}", asked.family),
        None => asked.family.to_owned(),
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.4}"))
}

fn share(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.3}"))
}

fn percent(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{:.2}", 100.0 * value))
}

fn change(change: Option<&Change>) -> String {
    match change {
        Some(Change {
            mean: _,
            interval: Some(Interval { lo, hi }),
        }) => format!("{lo:+.4} to {hi:+.4}"),
        Some(Change { mean, .. }) => format!("{mean:+.4}"),
        None => "-".into(),
    }
}

fn rate(value: Option<f64>, interval: Option<Interval>) -> String {
    match (value, interval) {
        (Some(value), Some(Interval { lo, hi })) => {
            format!("{:.2} ({:.2}-{:.2})", 100.0 * value, 100.0 * lo, 100.0 * hi)
        }
        (value, _) => percent(value),
    }
}

/// The purchase rate of each dial at each loss, linear between neighbouring settings, of which the
/// base is one.
fn at_equal_loss(asked: &[Asked], points: &[CurvePoint]) -> Vec<EqualLoss> {
    let mut found = Vec::new();
    let Some(base) = points.first() else {
        return found;
    };
    let place = |point: &CurvePoint| Some((-point.click_change?.mean, point.held_out_rate?));
    for family in DIALS.map(|dial| dial.name) {
        let mut places = Vec::new();
        for (asked, point) in asked.iter().zip(points) {
            if asked.family == family {
                places.extend(place(point));
            }
        }
        if places.is_empty() {
            continue;
        }
        places.extend(place(base));
        places.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        for loss in LOSSES {
            found.push(EqualLoss {
                family,
                loss,
                held_out_rate: interpolated(&places, loss),
            });
        }
    }
    found
}

/// The value at `x` between the neighbouring places (ascending by x); `None` outside of them.
fn interpolated(places: &[(f64, f64)], x: f64) -> Option<f64> {
    let after = places.iter().position(|place| place.0 >= x)?;
    let (x1, y1) = places[after];
    let (x0, y0) = *places.get(after.checked_sub(1)?)?;
    let share = if x1 > x0 { (x - x0) / (x1 - x0) } else { 0.0 };
    Some(y0 + share * (y1 - y0))
}

/// What the session's true return as the prompt shows about this log.
fn oracle_sentence(asked: &[Asked], points: &[CurvePoint]) -> Option<String> {
    let at = asked.iter().position(|asked| asked.family == ORACLE)?;
    let change = points[at].click_change?;
    let Interval { lo, hi } = change.interval?;
    let range = format!("{:+.4} (95% interval {lo:+.4} to {hi:+.4})", change.mean);
    Some(if lo <= 0.0 && 0.0 <= hi {
        format!(
            "The session's true return as the prompt changes click HR@20 by {range}: knowing it makes \
             these lists no more accurate on this log."
        )
    } else {
        format!(
            "The session's true return as the prompt changes click HR@20 by {range}: that much a good \
             guess of the return is worth here."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purchase_rate_at_a_loss_is_linear_between_settings() {
        let places = [(0.0, 0.01), (0.004, 0.03), (0.02, 0.07)];
        assert_eq!(interpolated(&places, 0.004), Some(0.03));
        assert!((interpolated(&places, 0.002).unwrap() - 0.02).abs() < 1e-12);
        assert!((interpolated(&places, 0.012).unwrap() - 0.05).abs() < 1e-12);
        assert_eq!(interpolated(&places, 0.03), None);
        assert_eq!(interpolated(&places[1..], 0.001), None);
    }

    /// A model with all dials.
    const ALL: Dials = Dials {
        is_prompted: true,
        tilt: Ok(()),
    };

    #[test]
    fn dials_are_read_with_their_settings() {
        let base = PromptSpec::from(TargetReturn::Relative { mu: 1.0, eps: 0.0 });
        let dials = [
            "mu=2,4".to_owned(),
            "tilt=-0.5".to_owned(),
            "oracle".to_owned(),
        ];
        let found = asked(&dials, base, ALL).unwrap();
        let names: Vec<String> = found.iter().map(name).collect();
        assert_eq!(names, ["base", "mu 2", "mu 4", "tilt -0.5", "oracle"]);
        assert_eq!(found[3].prompt.target, base.target);
        assert_eq!(found[3].prompt.tilt, -0.5);
        let all = asked(&[], base, ALL).unwrap();
        assert_eq!(all.len(), 1 + 5 + 3 + 5 + 1);
        let tilt_alone = Dials {
            is_prompted: false,
            ..ALL
        };
        assert_eq!(asked(&[], base, tilt_alone).unwrap().len(), 1 + 5);
        assert!(asked(&["mu=1".to_owned()], base, tilt_alone).is_err());
        let prompt_alone = Dials {
            tilt: Err(NoTilt::NoRates),
            ..ALL
        };
        assert_eq!(asked(&[], base, prompt_alone).unwrap().len(), 1 + 5 + 3 + 1);
        assert!(asked(&["tilt=1".to_owned()], base, prompt_alone).is_err());
        let none = Dials {
            is_prompted: false,
            ..prompt_alone
        };
        assert!(asked(&[], base, none).is_err());
        for wrong in ["nu=1", "quantile=2", "mu=x", "tilt=1000", "tilt=nan", "mu"] {
            assert!(asked(&[wrong.to_owned()], base, ALL).is_err(), "{wrong}");
        }
    }
}
