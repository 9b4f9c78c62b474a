//! Fits the worlds of the shop to a real log in RetailRocket's format, and writes `fitted.toml`:
//! `cargo run --release -p prl-synth --example fit_shop -- events.csv fitted.toml [EVALUATIONS]`.
//!
//! The method of simulated moments: a simplex search (Nelder and Mead, 1965) over the parameters
//! minimises the squared differences of the moments from those of the log, in their units. A
//! session is a visitor; transactions are left out, as by the protocol. Sessions of one event are
//! left out, as the worlds have none. Every evaluation simulates as many sessions as the log has,
//! with the same random numbers.

mod simplex;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use prl_synth::shop::{
    Assumed, Fitted, LogEvent, MOMENTS, Moments, NoLists, Shop, ShopWorld, roll_out,
};

/// Assumptions of the worlds.
const RANGE: &str = include_str!("../../src/shop/range.toml");
/// Seeds of the simulated logs whose moments are averaged; tests use others.
const SEEDS: [u64; 2] = [1_000, 1_001];
/// Start of the search, and the first steps.
const START: [(f64, f64); 13] = [
    (550.0, 120.0),
    (1.3, 0.3),
    (0.8, 0.3),
    (0.25, 0.2),
    (1.1, 0.2),
    (0.265, 0.02),
    (0.265, 0.02),
    (-4.9, 0.3),
    (1.6, 0.3),
    (0.2, 0.2),
    (1.1, 0.3),
    (-0.1, 0.2),
    (0.47, 0.1),
];

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [log, out, rest @ ..] = args.as_slice() else {
        return Err("usage: fit_shop EVENTS.csv FITTED.toml [EVALUATIONS]".into());
    };
    let evaluations = rest.first().map_or(Ok(900), |n| n.parse())?;
    let sessions = read(log)?;
    let target = Moments::new(sessions.iter().map(Vec::as_slice));
    let problem = Problem {
        target: target.clone(),
        sessions: sessions.len() as u64,
    };
    let mut range: BTreeMap<String, Assumed> = toml::from_str(RANGE)?;
    let base = range.remove("base").ok_or("range.toml has no world base")?;
    let start: Vec<f64> = START.iter().map(|&(value, _)| value).collect();
    let steps: Vec<f64> = START.iter().map(|&(_, step)| step).collect();
    let mut found = vec![problem.fit("base", base, &start, &steps, evaluations)?];
    // The other worlds start from there, with smaller steps.
    let start = found[0].1.fitted.to_array();
    let small: Vec<f64> = steps.iter().map(|step| step / 4.0).collect();
    for (name, assumed) in range {
        // Worlds that differ in the lists' effect alone have equal logs without lists.
        let logs_differ =
            (assumed.price, assumed.fit, assumed.follow) != (base.price, base.fit, base.follow);
        let evaluations = if logs_differ { evaluations / 2 } else { 0 };
        found.push(problem.fit(&name, assumed, &start, &small, evaluations)?);
    }
    found.sort_by(|a, b| a.1.name.cmp(&b.1.name));
    std::fs::write(out, text(&target, problem.sessions, &found)?)?;
    Ok(())
}

struct Problem {
    target: Moments,
    sessions: u64,
}

impl Problem {
    /// Searches from `start`; returns the loss, the world and its moments.
    fn fit(
        &self,
        name: &str,
        assumed: Assumed,
        start: &[f64],
        steps: &[f64],
        evaluations: usize,
    ) -> Result<(f64, ShopWorld, Moments), Failure> {
        let world = |values: &[f64]| -> ShopWorld {
            let mut array = [0.0; 13];
            array.copy_from_slice(values);
            ShopWorld {
                name: name.to_owned(),
                assumed,
                fitted: Fitted::from_array(array),
            }
        };
        let mut loss = |values: &[f64]| self.loss(&self.moments(&world(values)));
        let best = simplex::minimise(&mut loss, start, steps, evaluations);
        // A second search from the best point leaves a collapsed simplex.
        let best = simplex::minimise(&mut loss, &best, steps, evaluations);
        let mut world = world(&best);
        world.fitted = rounded(world.fitted);
        let moments = self.moments(&world);
        let loss = self.loss(&moments);
        eprintln!("{name}: loss {loss:.3}");
        Ok((loss, world, moments))
    }

    fn moments(&self, world: &ShopWorld) -> Moments {
        let shop = Shop::new(world.clone());
        let mut mean = [0.0; MOMENTS.len()];
        for seed in SEEDS {
            let Ok(visits) = roll_out(&shop, seed, 0..self.sessions, &mut NoLists, 1_024);
            let moments = Moments::of_visits(&visits);
            for (sum, value) in mean.iter_mut().zip(moments.0) {
                *sum += value / SEEDS.len() as f64;
            }
        }
        Moments(mean)
    }

    fn loss(&self, moments: &Moments) -> f64 {
        let mut loss = 0.0;
        for (error, moment) in moments.errors(&self.target).iter().zip(&MOMENTS) {
            loss += (error / moment.unit).powi(2);
        }
        if loss.is_finite() { loss } else { f64::MAX }
    }
}

/// Four decimals, as they are written.
fn rounded(fitted: Fitted) -> Fitted {
    let mut values = fitted.to_array();
    for value in &mut values {
        *value = (*value * 1e4).round() / 1e4;
    }
    Fitted::from_array(values)
}

/// Sessions of at least two events from a file in RetailRocket's format.
fn read(path: &str) -> Result<Vec<Vec<LogEvent>>, Failure> {
    let text = std::fs::read_to_string(path)?;
    let mut visitors: BTreeMap<u64, Vec<(i64, LogEvent)>> = BTreeMap::new();
    for (line, row) in text.lines().enumerate().skip(1) {
        let cells: Vec<&str> = row.split(',').collect();
        let [time, visitor, kind, item, ..] = cells.as_slice() else {
            return Err(format!("{path}:{}: expected five cells", line + 1).into());
        };
        if *kind != "transaction" {
            let event = LogEvent {
                item: item.parse()?,
                purchase: *kind == "addtocart",
            };
            let events = visitors.entry(visitor.parse()?).or_default();
            events.push((time.parse()?, event));
        }
    }
    let mut sessions = Vec::new();
    for mut events in visitors.into_values() {
        // Stable: events of one second keep the order of the file.
        events.sort_by_key(|&(time, _)| time);
        if events.len() > 1 {
            sessions.push(events.into_iter().map(|(_, event)| event).collect());
        }
    }
    Ok(sessions)
}

/// Content of `fitted.toml`.
fn text(
    target: &Moments,
    sessions: u64,
    worlds: &[(f64, ShopWorld, Moments)],
) -> Result<String, Failure> {
    let mut text = String::from(
        "# Written by the example fit_shop from RetailRocket's log of 2015-09-10 to 09-18\n",
    );
    writeln!(
        text,
        "# ({sessions} sessions of two events or more). Not changed by hand.\n"
    )?;
    text.push_str("[target]\n");
    for (moment, value) in MOMENTS.iter().zip(target.0) {
        writeln!(text, "{} = {value:.4}", moment.name)?;
    }
    for (loss, world, moments) in worlds {
        let name = &world.name;
        writeln!(
            text,
            "\n[world.{name}]\nloss = {loss:.3}\n\n[world.{name}.fitted]"
        )?;
        text.push_str(&toml::to_string(&world.fitted)?);
        writeln!(text, "\n[world.{name}.moments]")?;
        for (moment, value) in MOMENTS.iter().zip(moments.0) {
            writeln!(text, "{} = {value:.4}", moment.name)?;
        }
    }
    Ok(text)
}
