//! `index.html`: leaderboard, best value so far and parallel coordinates on one self-contained page
//! without scripts.

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use plotters::style::RGBColor;
use prl_charts::html::{details, table as scrolling_table};
use prl_charts::line_chart::{self, Chart, Line};

use crate::domain::plain;
use crate::leaderboard::{common, differing, epochs, text_of};
use crate::parallel;
use crate::space::Space;
use crate::trial::{Status, Trial, count, ranking};

/// Finished trials on the leaderboard.
const TOP: usize = 10;
/// Colour of the line of the best value.
const BLUE: RGBColor = RGBColor(47, 129, 247);
/// Rules beside the common style sheet: a wide drawing scrolls on a narrow screen, and its labels
/// are legible on top of lines.
const STYLE: &str = ".wide { overflow-x: auto; } .wide svg { min-width: 44rem; }\n\
                     .wide text { paint-order: stroke; stroke: var(--paper); stroke-width: 10px; \
                     stroke-linejoin: round; }";

/// Facts of a search beside its trials.
pub struct SearchFacts<'a> {
    /// Name of the dataset.
    pub dataset: &'a str,
    /// Whether the dataset is synthetic.
    pub is_synthetic: bool,
    /// Metric of the validation.
    pub metric: &'a str,
    /// Name of the pruner.
    pub pruner: &'a str,
    /// Seed of the search.
    pub seed: u64,
    /// The space.
    pub space: &'a Space,
}

/// Renders the page.
///
/// # Errors
/// If a drawing fails.
pub fn page(facts: &SearchFacts<'_>, trials: &[Trial]) -> Result<String> {
    let ranked = ranking(trials);
    let has_values = trials.iter().any(|trial| trial.value().is_some());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { "Search on " (facts.dataset) }
                style { "\n" (PreEscaped(prl_charts::STYLE)) (STYLE) "\n" }
            }
            "\n"
            body {
                "\n"
                (top(facts, trials))
                (best(facts, &ranked))
                @if has_values {
                    (drawings(facts, trials, &ranked)?)
                }
                (failed(trials))
                (space(facts))
                (details("All trials", all(facts, trials)))
            }
        }
        "\n"
    };
    Ok(page.into_string())
}

fn top(facts: &SearchFacts<'_>, trials: &[Trial]) -> Markup {
    let counted = |status| count(trials, status);
    html! {
        @if facts.is_synthetic {
            p class="synthetic" role="alert" {
                strong { "SYNTHETIC DATA" }
                " made up by " code { "prl synth" } "."
            }
            "\n"
        }
        header {
            h1 { "Search for settings" }
            "\n"
            p class="lead" {
                "Trainings on " code { (facts.dataset) } ", compared by " (facts.metric)
                " of the validation. The test split was not used."
            }
            "\n"
            p class="chips" {
                span { (trials.len()) " trials" }
                span { (counted(Status::Finished)) " finished" }
                span { (counted(Status::Stopped)) " stopped early" }
                @if counted(Status::Incomplete) > 0 {
                    span { (counted(Status::Incomplete)) " incomplete" }
                }
                @if counted(Status::Failed) > 0 {
                    span class="bad" { (counted(Status::Failed)) " failed" }
                }
                span { "pruner " (facts.pruner) }
                span { "seed " (facts.seed) }
            }
        }
        "\n"
    }
}

fn best(facts: &SearchFacts<'_>, ranked: &[&Trial]) -> Markup {
    let shown = &ranked[..ranked.len().min(TOP)];
    html! {
        section id="leaderboard" {
            h2 { "Leaderboard" }
            "\n"
            @if shown.is_empty() {
                p { "No trial has finished yet." }
            } @else {
                p {
                    "Of the settings, those in which these trials differ. A dash is a setting that \
                     the trial does not have. " code { "best" }
                    " is the run directory of the first."
                }
                "\n"
                (trial_table(facts, "Leaderboard", shown, true))
                @let shared = common(shown);
                @if !shared.is_empty() {
                    p { "In all of these: " code { (shared) } }
                    "\n"
                }
            }
        }
        "\n"
    }
}

fn trial_table(facts: &SearchFacts<'_>, name: &str, trials: &[&Trial], ranked: bool) -> Markup {
    let names = differing(trials);
    let mut header = vec![if ranked { "rank" } else { "state" }, "trial", facts.metric];
    header.extend(["epoch", "seconds"]);
    header.extend(names.iter().map(String::as_str));
    let rows = html! {
        @for (i, trial) in trials.iter().enumerate() {
            tr class=[(ranked && i == 0).then_some("prl best")] {
                th scope="row" {
                    @if ranked { (i + 1) } @else { (state(trial.status)) }
                }
                td { (trial.number) }
                @match trial.best() {
                    Some(point) => {
                        td { (format!("{:.4}", point.value)) }
                        td { (epochs(point.epoch)) }
                    }
                    None => { td class="none" { "\u{2013}" } td class="none" { "\u{2013}" } }
                }
                td { (format!("{:.1}", trial.seconds)) }
                @for name in &names {
                    td { (text_of(&trial.settings, name)) }
                }
            }
            "\n"
        }
    };
    scrolling_table(name, &header, rows)
}

fn state(status: Status) -> &'static str {
    match status {
        Status::Incomplete => "incomplete",
        Status::Finished => "finished",
        Status::Stopped => "stopped",
        Status::Failed => "failed",
    }
}

fn drawings(facts: &SearchFacts<'_>, trials: &[Trial], ranked: &[&Trial]) -> Result<Markup> {
    let parallel = parallel::svg(facts.space, trials, facts.metric)?;
    Ok(html! {
        section id="parallel" {
            h2 { "Settings and values" }
            "\n"
            p {
                "A line is a trial, finished or stopped early; a row is a setting, the last one the \
                 value. Lines through one choice are spread by the rank of their value. Values far \
                 below the median lie at the left end of their row."
            }
            "\n"
            figure class="wide" { (PreEscaped(parallel)) }
        }
        "\n"
        @if !ranked.is_empty() {
            section id="progress" {
                h2 { "Best value so far" }
                "\n"
                div class="charts" {
                    figure { (PreEscaped(progress(facts, trials)?)) }
                }
            }
            "\n"
        }
    })
}

/// Chart of the best finished value after each trial.
fn progress(facts: &SearchFacts<'_>, trials: &[Trial]) -> Result<String> {
    let mut points = Vec::new();
    let mut best = f64::NEG_INFINITY;
    for (i, trial) in trials.iter().enumerate() {
        if trial.status == Status::Finished {
            best = best.max(trial.value().unwrap_or(best));
        }
        if best.is_finite() {
            points.push([(i + 1) as f64, best, best, best]);
        }
    }
    line_chart::svg(&[Chart {
        title: "Best value so far".into(),
        x: "trials".into(),
        y: facts.metric.into(),
        is_logarithmic: false,
        lines: vec![Line {
            name: facts.metric.into(),
            colour: BLUE,
            points,
        }],
    }])
}

fn failed(trials: &[Trial]) -> Markup {
    let failed = trials.iter().filter(|t| t.status == Status::Failed);
    html! {
        @if count(trials, Status::Failed) > 0 {
            section class="failed" id="failed" {
                h2 { "Failed" }
                "\n"
                ul {
                    @for trial in failed {
                        li {
                            "trial " (trial.number) ": "
                            (trial.message.as_deref().unwrap_or("no message"))
                        }
                        "\n"
                    }
                }
            }
            "\n"
        }
    }
}

fn space(facts: &SearchFacts<'_>) -> Markup {
    let content = html! {
        ul {
            @for (name, value) in facts.space.table() {
                li { code { (name) " = " (plain(value)) } }
                "\n"
            }
        }
    };
    details("Space", content)
}

fn all(facts: &SearchFacts<'_>, trials: &[Trial]) -> Markup {
    let all: Vec<&Trial> = trials.iter().collect();
    trial_table(facts, "All trials", &all, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Assignment;
    use crate::tpe::random;
    use crate::trial::CurvePoint;

    fn trials(space: &Space) -> Vec<Trial> {
        let mut trials = Vec::new();
        for number in 0..12 {
            let settings = random(space, Assignment::new(), 5, (number, 0));
            let value = 0.1 * number as f64;
            trials.push(Trial {
                status: Status::Finished,
                curve: vec![CurvePoint { epoch: 1.0, value }],
                ..Trial::new(number, settings)
            });
        }
        trials[11].status = Status::Stopped;
        trials[3].status = Status::Failed;
        trials[3].message = Some("error: <loss> is NaN".into());
        trials
    }

    fn render(trials: &[Trial]) -> String {
        let space = Space::parse("default", crate::DEFAULT_SPACE).unwrap();
        let facts = SearchFacts {
            dataset: "a <b>",
            is_synthetic: false,
            metric: "ndcg@20",
            pruner: "median",
            seed: 3,
            space: &space,
        };
        page(&facts, trials).unwrap()
    }

    #[test]
    fn page_has_leaderboard_axes_and_failures_and_loads_nothing() {
        let space = Space::parse("default", crate::DEFAULT_SPACE).unwrap();
        let html = render(&trials(&space));
        for text in [
            "Search on a &lt;b&gt;",
            "error: &lt;loss&gt; is NaN",
            "10 finished",
            "1 stopped early",
            "1 failed",
            "<th scope=\"row\">1</th><td>10</td><td>1.0000</td>",
        ] {
            assert!(html.contains(text), "{text}");
        }
        for variable in space.variables() {
            let axis = format!("\n{}\n", variable.name);
            assert!(html.contains(&axis), "no axis {}", variable.name);
        }
        assert!(!html.contains("<script") && !html.contains("url("));
        assert!(!html.contains("src=") && !html.contains("http://") || html.contains("w3.org"));
    }

    #[test]
    fn page_without_values_has_no_drawings() {
        let html = render(&[]);
        assert!(html.contains("No trial has finished yet.") && !html.contains("<svg"));
    }
}
