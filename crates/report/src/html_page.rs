//! `index.html`: the whole study on one page that needs nothing beside itself, no script, and no wide screen.

use anyhow::Result;
use prl_dataset::Split;

use crate::figures;
use crate::html::{escape, folded, list, prose, table, thousands};
use crate::html_table;
use crate::line_chart::{self, Chart};
use crate::pages::counts;
use crate::provenance::{self, Count};
use prl_experiments::datasets::Counts;
use prl_experiments::experiment::Study;
use prl_experiments::outcome::Outcome;
use prl_experiments::paper::TOLERANCE;
use prl_experiments::prompt_sweep::FIGURES;
use prl_experiments::result_table::{Panel, Tally};
use prl_experiments::table_row;

const STYLE: &str = include_str!("html_page.css");

/// The page.
pub fn page(study: &Study, outcomes: &[Outcome], panels: &[Panel<'_>]) -> Result<String> {
    let mut body = top(study, outcomes);
    body += &glance(panels)?;
    body += &failed(study, outcomes);
    body += &data(study);
    for panel in panels {
        body += &panel_section(panel);
    }
    body += &answered(study, outcomes)?;
    body += &curves(panels)?;
    body += &made_on(study, outcomes);
    let synthetic = if study.datasets.iter().any(|dataset| dataset.is_synthetic()) {
        "SYNTHETIC: "
    } else {
        ""
    };
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>{synthetic}PRL, reproduced: {} scale</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        study.wish.scale.name()
    ))
}

fn top(study: &Study, outcomes: &[Outcome]) -> String {
    let count = Count::of(outcomes);
    let mut text = String::new();
    for dataset in study
        .datasets
        .iter()
        .filter(|dataset| dataset.is_synthetic())
    {
        let title = dataset.source.title;
        text += &format!(
            "<p class=\"synthetic\" role=\"alert\"><strong>SYNTHETIC DATA</strong> made up by <code>prl synth</code>, NOT \
             {title}. Nothing here is a result on {title}.</p>\n"
        );
    }
    text += &format!(
        "<header>\n<h1>PRL, reproduced</h1>\n<p class=\"lead\">The tables and figures of <cite>Rethinking Reinforcement \
         Learning for Recommendation: A Prompt Perspective</cite> (SIGIR \u{2019}22), run by this project: ours beside the \
         paper\u{2019}s.</p>\n<p class=\"chips\"><span>{} scale</span><span>{} of {} runs done</span>",
        study.wish.scale.name(),
        count.done,
        count.all
    );
    if count.failed > 0 {
        text += &format!("<span class=\"bad\">{} failed</span>", count.failed);
    }
    text += &format!(
        "<span>{}</span><span>code <code>{}</code></span></p>\n</header>\n",
        escape(&study.version),
        escape(&study.code)
    );
    text
}

fn failed(study: &Study, outcomes: &[Outcome]) -> String {
    let failures = provenance::failures(study, outcomes);
    if failures.is_empty() {
        return String::new();
    }
    let items = failures
        .into_iter()
        .map(|(run, why)| format!("{run}: {why}"));
    format!(
        "<section class=\"failed\" id=\"failed\"><h2>Failed</h2>{}</section>\n",
        list(items)
    )
}

/// Each table in a card, with a link to it, and the main numbers as a plot.
fn glance(panels: &[Panel<'_>]) -> Result<String> {
    let card = |panel: &Panel<'_>| {
        let Tally {
            compared,
            within,
            tested,
            better,
            worse,
            paper_starred,
            agreed,
        } = panel.tally();
        let mut lines = Vec::new();
        if compared > 0 {
            lines.push(format!(
                "<b>{within}/{compared}</b> HRs within {TOLERANCE} of the paper"
            ));
        }
        if tested > 0 {
            lines.push(format!(
                "<b>{better}</b> of {tested} columns significantly better than the rival, <b>{worse}</b> worse"
            ));
        }
        if paper_starred > 0 {
            lines.push(format!(
                "<b>{agreed}/{paper_starred}</b> of the paper\u{2019}s stars found here too"
            ));
        }
        let lines: String = lines
            .iter()
            .map(|line| format!("<li>{line}</li>"))
            .collect();
        let (number, log, kind) = (
            panel.table.number,
            panel.dataset.source.title,
            panel.dataset.kind(),
        );
        format!(
            "<a class=\"card\" href=\"#{}\"><h3>Table {number}</h3><p>{log} ({kind}): {}</p><ul>{lines}</ul></a>\n",
            id(panel),
            escape(panel.table.title)
        )
    };
    let cards: String = panels.iter().map(card).collect();
    let mut plots = String::new();
    for plot in panels
        .iter()
        .filter(|panel| panel.table.is_main())
        .flat_map(figures::main_numbers)
    {
        plots += &format!("<figure>{}</figure>\n", plot.svg()?);
    }
    Ok(format!(
        "<section id=\"glance\"><h2>At a glance</h2>\n<div class=\"cards\">{cards}\
         <a class=\"card\" href=\"#figure4\"><h3>Figures 4 and 5</h3><p>What PRL answers when it is asked for more</p></a>\n\
         <a class=\"card\" href=\"#curves\"><h3>Learning curves</h3><p>Every validation of every run</p></a>\n\
         <a class=\"card\" href=\"#made\"><h3>How it was made</h3><p>Machines, commit, and what was not run</p></a>\n\
         </div>\n<div class=\"charts\">{plots}</div>\n<p class=\"note\">Dots are ours, bars the 95% intervals of the first \
         seed\u{2019}s cases, and rings the paper\u{2019}s numbers, where they may be compared.</p></section>\n"
    ))
}

fn id(panel: &Panel<'_>) -> String {
    format!("table{}-{}", panel.table.number, panel.dataset.source.name)
}

fn data(study: &Study) -> String {
    let header = ["", "sessions", "items", "clicks", "purchases"].map(str::to_owned);
    let row = |(what, hash, c): (String, &str, Counts)| {
        let cells = [c.sessions, c.items, c.clicks, c.purchases]
            .map(|n| format!("<td>{}</td>", thousands(n)))
            .concat();
        let hash = if hash.is_empty() {
            String::new()
        } else {
            format!("<small><code>{hash}</code></small>")
        };
        format!(
            "<tr><th scope=\"row\">{}{hash}</th>{cells}</tr>\n",
            escape(&what)
        )
    };
    let rows: String = counts(study).into_iter().map(row).collect();
    format!(
        "<section id=\"table1\"><h2>Table 1: the data</h2>\n{}</section>\n",
        table("The data", &header, &rows)
    )
}

fn panel_section(panel: &Panel<'_>) -> String {
    let kind = if panel.dataset.is_synthetic() {
        " <span class=\"tag\">SYNTHETIC</span>"
    } else {
        ""
    };
    let mut text = format!(
        "<section id=\"{}\"><h2>{}{kind}</h2>\n",
        id(panel),
        escape(&panel.title())
    );
    let told = match &panel.incomparable {
        Some(why) => format!("The paper\u{2019}s numbers are for orientation only: {why}."),
        None => format!("An HR within {TOLERANCE} of the paper\u{2019}s counts as reproduced."),
    };
    text += &format!("<p>{}", prose(&told));
    text += &panel
        .tally()
        .describe()
        .map(|tally| format!(" {}", prose(&tally)))
        .unwrap_or_default();
    text += "</p>\n";
    if let Some(why) = &panel.untested {
        text += &format!(
            "<p class=\"failed\">Nothing was tested: {}.</p>\n",
            prose(why)
        );
    }
    text += "<p class=\"note\">In a cell, from above: the mean over the seeds; the least and the largest; [the 95% interval over the \
             first seed\u{2019}s cases: Wilson\u{2019}s for HR, a bootstrap over sessions for NDCG]; the paper\u{2019}s number; the \
             difference. Bold is the best of its encoder.</p>\n";
    text += &html_table::results(panel, Split::Test);
    text += &folded(
        "Tests behind the stars",
        &(html_table::tests(panel) + &format!("<p>{}</p>\n", prose(&panel.star_legend()))),
    );
    text += &folded(
        table_row::split_title(Split::Val),
        &html_table::results(panel, Split::Val),
    );
    text + "</section>\n"
}

fn answered(study: &Study, outcomes: &[Outcome]) -> Result<String> {
    let mut text = String::new();
    for figure in &FIGURES {
        let all = figures::answered(study, outcomes, figure);
        text += &format!(
            "<section id=\"figure{0}\"><h2>Figure {0}: {1}</h2>\n",
            figure.number,
            escape(&figure.title())
        );
        if all.is_empty() {
            text += "<p>No run of PRL is done that was asked for this.</p></section>\n";
            continue;
        }
        text += "<p>Lines are means over the seeds, bands their least and largest.</p>\n<div class=\"charts\">\n";
        for on in all {
            let source = study.datasets[on.dataset].source;
            let paper = format!(
                "{}, the paper: reward@1 {}.",
                source.title,
                (figure.finding)(source.name)
            );
            let found = on
                .findings
                .iter()
                .map(|finding| format!("Ours, {finding}."));
            let caption = list(std::iter::once(paper).chain(found));
            text += &format!(
                "<figure>{}<figcaption>{caption}</figcaption></figure>\n",
                line_chart::svg(&[on.chart])?
            );
        }
        text += "</div></section>\n";
    }
    Ok(text)
}

fn curves(panels: &[Panel<'_>]) -> Result<String> {
    let mut text = "<section id=\"curves\"><h2>Learning curves</h2>\n<p>Scores on the validation split during training; bands \
                    are the least and largest over the seeds. The weights used are those of the best purchase HR@5.</p>\n"
        .to_owned();
    for panel in panels {
        let charts: Vec<(String, Chart)> = figures::curves(panel);
        if charts.is_empty() {
            continue;
        }
        let drawn: Vec<String> = charts
            .into_iter()
            .map(|(_, chart)| line_chart::svg(&[chart]))
            .collect::<Result<_>>()?;
        let drawn: String = drawn
            .iter()
            .map(|svg| format!("<figure>{svg}</figure>\n"))
            .collect();
        text += &format!(
            "<h3>{}</h3>\n<div class=\"charts\">{drawn}</div>\n",
            escape(&panel.title())
        );
    }
    Ok(text + "</section>\n")
}

fn made_on(study: &Study, outcomes: &[Outcome]) -> String {
    let mut text = "<section id=\"made\"><h2>How it was made</h2>\n<h3>On what</h3>\n".to_owned();
    for (machine, made) in provenance::machines(outcomes) {
        let lines = machine.lines().into_iter().chain([format!("made: {made}")]);
        text += &list(lines);
    }
    text += &format!("<h3>What it is not</h3>\n{}", list(provenance::cuts(study)));
    text += "<h3>Again</h3>\n<p><code>cargo xtask reproduce</code> runs what is not done and writes this page again. Every number \
             lies in <a href=\"runs.csv\">runs.csv</a>, <a href=\"curves.csv\">curves.csv</a>, <a \
             href=\"answers.csv\">answers.csv</a> and the table\u{2019}s own CSV beside it.</p>\n</section>\n";
    text
}
