//! Parameters of a shop: what is assumed, and what is fitted to a log under that assumption.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::moments::Moments;
use crate::error::{Error, Result};

/// Assumptions of each world, written by hand.
const RANGE: &str = include_str!("range.toml");
/// Fitted parameters and moments of each world, written by `examples/fit_shop`.
const FITTED: &str = include_str!("fitted.toml");

/// Parameters that a log without its shown lists cannot identify.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assumed {
    /// Attention to position `k` of a list is `k^-position`.
    pub position: f64,
    /// Probability that an examined item of full relevance is clicked.
    pub click: f64,
    /// Change of the log-odds of leaving from a relevant to an irrelevant list.
    pub impatience: f64,
    /// Decrease of the log-odds of a click and of a purchase per unit of log price above budget.
    pub price: f64,
    /// Increase of the log-odds of a purchase per unit of fit.
    pub fit: f64,
    /// Weight of the last item in the present interest, beside 1 - follow of the visitor's taste.
    pub follow: f64,
}

/// Parameters fitted to a log.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fitted {
    /// Number of categories; each has 64 items.
    pub categories: u32,
    /// Standard deviation of the items' log popularity.
    pub popularity: f64,
    /// Weight of the fit in the choice of a new item without a list.
    pub focus: f64,
    /// Log-odds of leaving after an event.
    pub leave: f64,
    /// Standard deviation of the visitors' patience, in log-odds of leaving.
    pub patience: f64,
    /// Probability of viewing the last item again.
    pub again: f64,
    /// Probability of going back to an item seen before the last.
    pub back: f64,
    /// Log-odds of a purchase directly after a first view.
    pub buy: f64,
    /// Standard deviation of the visitors' propensity to buy, in log-odds.
    pub buyers: f64,
    /// Increase of the log-odds of a purchase per standard deviation of patience.
    pub patient_buyers: f64,
    /// Standard deviation of the items' propensity to be bought, in log-odds.
    pub conversion: f64,
    /// Increase of the log-odds of a purchase after a second view.
    pub second_view: f64,
    /// Probability of a purchase without a view, relative to that after a view.
    pub unseen: f64,
}

impl Fitted {
    /// The parameters as an array, in the order of the fields.
    pub fn to_array(self) -> [f64; 13] {
        [
            f64::from(self.categories),
            self.popularity,
            self.focus,
            self.leave,
            self.patience,
            self.again,
            self.back,
            self.buy,
            self.buyers,
            self.patient_buyers,
            self.conversion,
            self.second_view,
            self.unseen,
        ]
    }

    /// The parameters of an array. Probabilities and standard deviations are clamped to their
    /// range.
    pub fn from_array(values: [f64; 13]) -> Self {
        Self {
            categories: values[0].clamp(2.0, 1e5).round() as u32,
            popularity: values[1].max(0.0),
            focus: values[2],
            leave: values[3],
            patience: values[4].max(0.0),
            again: values[5].clamp(0.0, 0.9),
            back: values[6].clamp(0.0, 0.9),
            buy: values[7],
            buyers: values[8].max(0.0),
            patient_buyers: values[9],
            conversion: values[10].max(0.0),
            second_view: values[11],
            unseen: values[12].clamp(0.0, 1.0),
        }
    }
}

/// Parameters of a shop.
#[derive(Clone, Debug, PartialEq)]
pub struct ShopWorld {
    /// Name in the range.
    pub name: String,
    /// What is assumed.
    pub assumed: Assumed,
    /// What is fitted under the assumption.
    pub fitted: Fitted,
}

/// Content of `fitted.toml`.
#[derive(Deserialize)]
struct FittedFile {
    target: Moments,
    world: BTreeMap<String, FittedWorld>,
}

#[derive(Deserialize)]
struct FittedWorld {
    fitted: Fitted,
}

impl ShopWorld {
    /// The world of this name.
    ///
    /// # Errors
    /// [`Error::World`] if there is none.
    pub fn named(name: &str) -> Result<Self> {
        let mut names = Vec::new();
        for world in worlds()? {
            if world.name == name {
                return Ok(world);
            }
            names.push(world.name);
        }
        Err(Error::World {
            name: name.to_owned(),
            names: names.join(", "),
        })
    }
}

/// The worlds of the range, by name.
///
/// # Errors
/// [`Error::Parameters`] if the committed files do not belong together.
pub fn worlds() -> Result<Vec<ShopWorld>> {
    let range: BTreeMap<String, Assumed> = parse("range.toml", RANGE)?;
    let mut file: FittedFile = parse("fitted.toml", FITTED)?;
    let mut worlds = Vec::new();
    for (name, assumed) in range {
        let Some(world) = file.world.remove(&name) else {
            return Err(Error::Parameters {
                file: "fitted.toml",
                why: format!("no world {name}; run the example fit_shop"),
            });
        };
        worlds.push(ShopWorld {
            name,
            assumed,
            fitted: world.fitted,
        });
    }
    Ok(worlds)
}

/// Moments of the real log that the worlds are fitted to.
///
/// # Errors
/// [`Error::Parameters`] if the committed file is damaged.
pub fn target() -> Result<Moments> {
    Ok(parse::<FittedFile>("fitted.toml", FITTED)?.target)
}

fn parse<T: serde::de::DeserializeOwned>(file: &'static str, text: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| Error::Parameters {
        file,
        why: error.to_string(),
    })
}
