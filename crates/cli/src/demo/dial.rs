//! Table of what the dial changes: a few lines.

use prl_eval::Metric;

use crate::evaluate::Curve;

const HEAD: [&str; 2] = [
    "                 next click in     items shown: purchases   of the plain",
    "                 the first 20      in 100 events of others  list, stays",
];
/// Meaning of the numbers.
const NOTES: &str = "   \
tilt adds a multiple of the logarithm of an item's purchase rate over the mean rate to its score:\n   \
more purchases for fewer exact clicks. mu asks for a multiple of the mean return of the visits, the\n   \
paper's prompt; on a log as small as this one it changes few lists. Which setting earns more is\n   \
measured in a shop, by an experiment (prl serve --experiment, prl ope).";

/// The measured effect of each prompt, with an explanation.
pub fn table(curve: &Curve) -> String {
    let mut text = String::new();
    for line in HEAD {
        text.push_str(&format!("   {line}\n"));
    }
    for (asked, point) in curve.asked.iter().zip(&curve.points) {
        let name = match asked.value {
            Some(value) => format!("{} {value}", asked.family),
            None => "plain".to_owned(),
        };
        let hits = percent(*point.report.scores.click.get(Metric::Hr20));
        let rate = point
            .held_out_rate
            .map_or("-".into(), |rate| format!("{:.1}", 100.0 * rate));
        let overlap = percent(Some(point.overlap));
        text.push_str(&format!("   {name:<17}{hits:>13}{rate:>29}{overlap:>15}\n"));
    }
    text.push('\n');
    text.push_str(NOTES);
    text
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share))
}
