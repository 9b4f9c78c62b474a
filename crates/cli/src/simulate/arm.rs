//! Arms of a simulation: ways to make lists.

use std::path::PathBuf;

use prl_runs::{FromJson, InvalidRequest, Json, RequestFields};
use prl_synth::shop::BestBy;

use crate::exit::Usage;

/// One way to make lists.
#[derive(Debug)]
pub struct Arm {
    /// The text of the flag.
    pub name: String,
    /// Maker of its lists.
    pub maker: Maker,
}

/// Maker of lists.
#[derive(Debug)]
pub enum Maker {
    /// No lists.
    NoLists,
    /// Items drawn uniformly.
    Random,
    /// Popular items of the last item's category.
    Popular,
    /// The best items by the visitor's hidden taste.
    Best(BestBy),
    /// A model's lists.
    Model {
        /// Its run directory, if it is not that of the command.
        run: Option<PathBuf>,
        /// Fields of its requests.
        fields: Box<RequestFields>,
    },
}

impl Arm {
    /// The arm of a command without arms.
    pub fn of_flags(fields: &RequestFields) -> Self {
        Self {
            name: "model".into(),
            maker: Maker::Model {
                run: None,
                fields: Box::new(fields.clone()),
            },
        }
    }

    /// Parses `none`, `random`, `popular`, `best-fit`, `best-buy`, `best-money`, or fields
    /// `NAME=VALUE,..`.
    pub fn parse(text: &str) -> Result<Self, Usage> {
        let name = text.trim().to_owned();
        let maker = match name.as_str() {
            "none" => Maker::NoLists,
            "random" => Maker::Random,
            "popular" => Maker::Popular,
            "best-fit" => Maker::Best(BestBy::Relevance),
            "best-buy" => Maker::Best(BestBy::Purchase),
            "best-money" => Maker::Best(BestBy::Money),
            _ => model(&name)?,
        };
        Ok(Self { name, maker })
    }
}

fn model(text: &str) -> Result<Maker, Usage> {
    let (mut run, mut pairs) = (None, Vec::new());
    for pair in text.split(',') {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Usage(format!(
                "--arm {text}: expected none, random, popular, best-fit, best-buy, best-money, or \
                 fields of a request such as mu=2,exclude_seen=true; found {pair:?}"
            )));
        };
        let (name, value) = (name.trim(), value.trim());
        if name == "run" {
            run = Some(PathBuf::from(value));
            continue;
        }
        let json = serde_json::from_str(value);
        pairs.push((
            name.to_owned(),
            json.unwrap_or(Json::Text(value.to_owned())),
        ));
    }
    let fields = RequestFields::from_json(Json::Object(pairs)).and_then(checked);
    let fields = fields.map_err(|error| Usage(format!("--arm {text}: {error}")))?;
    Ok(Maker::Model {
        run,
        fields: Box::new(fields),
    })
}

/// Rejects fields that a simulation fills in.
pub fn checked(fields: RequestFields) -> Result<RequestFields, InvalidRequest> {
    let own = [
        ("session", fields.session.is_some()),
        ("items", fields.items.is_some()),
        ("purchased", fields.purchased.is_some()),
        ("kinds", fields.kinds.is_some()),
        ("case", fields.case.is_some()),
    ];
    for (name, is_given) in own {
        if is_given {
            let message = format!("{name} is the simulated session's own; leave it out");
            return Err(InvalidRequest::new(message));
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arm_is_a_list_maker_or_fields_of_a_request() {
        assert!(matches!(
            Arm::parse("best-fit").unwrap().maker,
            Maker::Best(BestBy::Relevance)
        ));
        let arm = Arm::parse("mu=2, exclude_seen=true, run=runs/a").unwrap();
        let Maker::Model { run, fields } = arm.maker else {
            panic!("{arm:?}")
        };
        assert_eq!(run, Some(PathBuf::from("runs/a")));
        assert_eq!((fields.mu, fields.exclude_seen), (Some(2.0), Some(true)));
    }

    #[test]
    fn wrong_arms_are_errors_that_name_the_field() {
        for (text, says) in [
            ("best", "expected none, random, popular, best-fit, best-buy"),
            ("mu=x", "mu: expected a number, found the text \"x\""),
            ("items=[]", "items is the simulated session's own"),
            ("colour=3", "colour"),
        ] {
            let error = Arm::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--arm {text}: ")), "{error}");
            assert!(error.contains(says), "{error}");
        }
    }
}
