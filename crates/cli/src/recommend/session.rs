//! Flags of a single request: its session and item filters.

use prl_dataset::Kind;
use prl_runs::{FromJson, Id, Json, MAX_K, RequestFields};

use super::conditions::conditions;
use crate::exit::Usage;

/// The session of a request.
#[derive(clap::Args)]
pub struct Session {
    /// Raw item ids of the session, oldest first; repeatable; an empty value is an empty session;
    /// `\,` is a comma in an id
    #[arg(long, value_name = "A,B,..", allow_hyphen_values = true)]
    items: Vec<String>,
    /// One raw item id, taken as it is, with its commas and blanks; repeat it for each event
    #[arg(
        long,
        value_name = "ID",
        allow_hyphen_values = true,
        conflicts_with = "items"
    )]
    item: Vec<String>,
    /// Items of the session that were purchased; used with --sequence-wise
    #[arg(
        long,
        value_name = "A,B,..",
        allow_hyphen_values = true,
        conflicts_with = "input"
    )]
    purchased: Vec<String>,
    /// Kind of each event of the session, click or purchase, in the order of the items; instead of
    /// --purchased
    #[arg(long, value_name = "KIND,..", conflicts_with_all = ["purchased", "input"])]
    kinds: Vec<String>,
}

/// Restriction of the recommended items.
#[derive(clap::Args)]
pub struct Filters {
    /// Do not recommend the session's own items
    #[arg(long)]
    exclude_seen: bool,
    /// Do not recommend these items; repeatable
    #[arg(long, value_name = "A,B,..", allow_hyphen_values = true)]
    exclude: Vec<String>,
    /// Recommend these items only; repeatable
    #[arg(long, value_name = "A,B,..", allow_hyphen_values = true)]
    allow: Vec<String>,
    /// Recommend items with these properties only; repeatable, all conditions hold. A condition is
    /// COLUMN=VALUE, COLUMN<=NUMBER or COLUMN>=NUMBER, and several values of one column are
    /// alternatives; or all in JSON: {"category": ["shoes"], "price": {"max": 50}}. A number or
    /// true in quotes is a text: 'size="38"'
    #[arg(long = "where", value_name = "CONDITION", allow_hyphen_values = true)]
    conditions: Vec<String>,
    /// Properties of the items in the answer
    #[arg(long, value_name = "COLUMN,..", value_delimiter = ',')]
    properties: Vec<String>,
}

impl Session {
    /// Adds the session to a request, if the flags have one.
    pub fn add_to(&self, fields: &mut RequestFields) -> Result<(), Usage> {
        if !self.item.is_empty() {
            let mut items = Vec::with_capacity(self.item.len());
            for id in &self.item {
                items.push(Id(id.clone()));
            }
            fields.items = Some(items);
        } else if !self.items.is_empty() {
            fields.items = Some(ids(&self.items));
        }
        if fields.items.is_none() && !(self.purchased.is_empty() && self.kinds.is_empty()) {
            let message = "--purchased and --kinds belong to a session; give --items or --item";
            return Err(Usage(message.into()));
        }
        if !self.purchased.is_empty() {
            fields.purchased = Some(ids(&self.purchased));
        }
        if !self.kinds.is_empty() {
            let mut kinds = Vec::new();
            for Id(name) in ids(&self.kinds) {
                let kind = Kind::from_json(Json::Text(name));
                kinds.push(kind.map_err(|error| Usage(error.within("--kinds").to_string()))?);
            }
            fields.kinds = Some(kinds);
        }
        Ok(())
    }
}

impl Filters {
    /// Adds the filters that are given to a request.
    pub fn add_to(&self, fields: &mut RequestFields) -> Result<(), Usage> {
        fields.exclude_seen = self.exclude_seen.then_some(true);
        if !self.exclude.is_empty() {
            fields.exclude = Some(ids(&self.exclude));
        }
        if !self.allow.is_empty() {
            fields.allow = Some(ids(&self.allow));
        }
        if !self.conditions.is_empty() {
            let conditions = conditions(&self.conditions);
            fields.conditions = Some(conditions.map_err(|e| Usage(format!("--where: {e}")))?);
        }
        if !self.properties.is_empty() {
            fields.properties = Some(self.properties.clone());
        }
        Ok(())
    }
}

/// Parser of `-k`.
pub fn k(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(k) if (1..=MAX_K as u64).contains(&k) => Ok(k),
        _ => Err(format!("expected {}", RequestFields::K)),
    }
}

/// The non-empty ids of comma-separated lists, without the blanks around them. `\,` is a comma in
/// an id.
fn ids(lists: &[String]) -> Vec<Id> {
    let mut ids = Vec::new();
    for list in lists {
        let (mut id, mut escaped) = (String::new(), false);
        for c in list.chars() {
            match c {
                ',' if escaped => {
                    id.pop();
                    id.push(',');
                }
                ',' => push(&mut ids, &mut id),
                _ => id.push(c),
            }
            escaped = c == '\\';
        }
        push(&mut ids, &mut id);
    }
    ids
}

fn push(ids: &mut Vec<Id>, id: &mut String) {
    let trimmed = id.trim();
    if !trimmed.is_empty() {
        ids.push(Id(trimmed.to_owned()));
    }
    id.clear();
}

#[cfg(test)]
mod tests {
    use super::{Id, ids, k};

    #[test]
    fn id_lists_are_split_at_commas_without_a_backslash() {
        let lists = ["a, b,,", r"c\,d,e\f", "-5", "x y"].map(str::to_owned);
        let expected = ["a", "b", "c,d", r"e\f", "-5", "x y"];
        assert_eq!(ids(&lists), expected.map(|id| Id(id.into())));
        assert_eq!(ids(&[String::new()]), []);
    }

    #[test]
    fn k_outside_its_range_is_rejected_with_one_sentence() {
        assert_eq!((k("1"), k("1000")), (Ok(1), Ok(1000)));
        for text in ["0", "-1", "1001", "1.5", "1e99", "", "five"] {
            let expected = "expected a whole number from 1 to 1000";
            assert_eq!(k(text).unwrap_err(), expected, "{text}");
        }
    }
}
