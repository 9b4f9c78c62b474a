//! Titles of the synthetic shop's items.

use prl_synth::CatalogueItem;

/// Goods: a word for each category, used again with a number where there are more.
const NOUNS: [&str; 20] = [
    "mug",
    "lamp",
    "scarf",
    "backpack",
    "notebook",
    "kettle",
    "headphones",
    "sneakers",
    "jacket",
    "watch",
    "blanket",
    "puzzle",
    "speaker",
    "sunglasses",
    "chair",
    "tent",
    "camera",
    "keyboard",
    "planter",
    "bicycle bell",
];
/// Kinds of it, most popular first.
const ADJECTIVES: [&str; 50] = [
    "classic", "small", "blue", "light", "green", "travel", "large", "striped", "black", "soft",
    "white", "oak", "folding", "red", "round", "copper", "grey", "winter", "slim", "yellow",
    "glass", "garden", "deep", "linen", "silver", "city", "warm", "steel", "orange", "wide",
    "bamboo", "quiet", "short", "brown", "summer", "woven", "bright", "cork", "tall", "purple",
    "stone", "heavy", "plain", "pink", "square", "long", "dark", "felt", "double", "golden",
];

/// The table of items: id, title and category.
pub fn csv(items: &[CatalogueItem]) -> String {
    let mut text = String::from("item_id,title,category\n");
    for item in items {
        let (title, category) = (title(item), noun(item.category));
        text.push_str(&format!("{},{title},{category}\n", item.id));
    }
    text
}

fn noun(category: u32) -> String {
    let (round, at) = split(category, NOUNS.len());
    match round {
        0 => NOUNS[at].to_owned(),
        round => format!("{} {}", NOUNS[at], round + 1),
    }
}

fn title(item: &CatalogueItem) -> String {
    let (round, at) = split(item.rank, ADJECTIVES.len());
    let noun = noun(item.category);
    match round {
        0 => format!("{} {noun}", ADJECTIVES[at]),
        round => format!("{} {noun} no. {}", ADJECTIVES[at], round + 1),
    }
}

fn split(number: u32, size: usize) -> (usize, usize) {
    let number = number as usize;
    (number / size, number % size)
}

/// Ids and titles of the two most popular items of the first category.
pub fn session(items: &[CatalogueItem]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for item in items {
        if item.category == 0 && item.rank < 2 {
            found.push((item.id.to_string(), title(item)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prl_synth::{Like, Options, catalogue};

    use super::*;

    #[test]
    fn every_item_of_the_shop_has_its_own_title() {
        let options = Options {
            like: Like::Tiny,
            sessions: None,
            seed: 0,
        };
        let items = catalogue(&options).unwrap();
        let titles: BTreeSet<String> = items.iter().map(title).collect();
        assert_eq!((items.len(), titles.len()), (1_000, 1_000));
        let titles: Vec<String> = session(&items)
            .into_iter()
            .map(|(_, title)| title)
            .collect();
        assert_eq!(titles, ["classic mug", "small mug"]);
        let text = csv(&items);
        assert_eq!(text.lines().count(), 1_001);
        let first = items
            .iter()
            .find(|i| (i.category, i.rank) == (0, 0))
            .unwrap();
        assert!(text.contains(&format!("\n{},classic mug,mug\n", first.id)));
    }

    #[test]
    fn words_are_used_again_with_numbers() {
        let item = CatalogueItem {
            id: 1,
            category: 21,
            rank: 50,
            is_purchase_heavy: false,
        };
        assert_eq!(title(&item), "classic lamp 2 no. 2");
    }
}
