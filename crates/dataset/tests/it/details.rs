//! Named kinds and rewards of single events, in the files and in returns.

use prl_dataset::{
    Dataset, DatasetWriter, Discount, Error, EventDetails, EventKind, ItemMap, Kind, Manifest,
    ReturnRule, ReturnTable, Rewards, Split, SplitExamples,
};

use crate::common::{arrays, manifest_input};
use Kind::{Click, Purchase};

/// A session of a view, a cart and a purchase, and one of two views.
fn sessions() -> Vec<Vec<(u32, Kind, Split)>> {
    let train = |item, kind| (item, kind, Split::Train);
    vec![
        vec![train(0, Click), train(1, Click), train(1, Purchase)],
        vec![train(0, Click), train(1, Click)],
    ]
}

fn details() -> EventDetails {
    let kind = |name: &str, role, reward| EventKind {
        name: name.into(),
        role,
        reward,
    };
    EventDetails {
        kinds: vec![
            kind("view", Click, None),
            kind("cart", Click, Some(0.5)),
            kind("buy", Purchase, None),
        ],
        labels: vec![0, 1, 2, 0, 0],
        rewards: vec![f32::NAN, 9.0, 8.0, f32::NAN, 3.0],
    }
}

const RULE: ReturnRule = ReturnRule {
    rewards: Rewards {
        click: 0.25,
        purchase: 1.0,
    },
    lambda: 0.5,
    discount: Discount::Relative,
};

fn map() -> ItemMap {
    ItemMap::new(["a", "b"]).unwrap()
}

#[test]
fn reward_of_a_kind_precedes_the_event_and_the_event_precedes_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let arrays = arrays(&sessions());
    let manifest = DatasetWriter::new(&arrays, &map(), manifest_input())
        .details(details())
        .write(dir.path())
        .unwrap();
    assert_eq!(manifest.format_version, 2);
    let data = Dataset::open(dir.path()).unwrap();
    assert_eq!(data.labels(), [0, 1, 2, 0, 0]);
    let examples = SplitExamples::new(&data, Split::Train, false);
    let batch = examples.batch(0..5, 4, Some(RULE));
    assert_eq!(batch.rewards, [0.25, 0.5, 8.0, 0.25, 3.0]);
    assert_eq!(batch.returns, [2.5, 4.5, 8.0, 1.75, 3.0]);
    assert_eq!(batch.kinds, [Click, Click, Purchase, Click, Click]);
    assert_eq!(
        examples.returns_so_far(0..5, RULE),
        [0.0, 0.25, 0.5, 0.0, 0.25]
    );
    let table = ReturnTable::new(&[examples], RULE.rewards, RULE.lambda, RULE.discount);
    assert_eq!(table.mean[..3], [2.125, 3.75, 8.0]);
}

#[test]
fn dataset_without_details_has_version_1_and_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let arrays = arrays(&sessions());
    let (plain, empty) = (dir.path().join("plain"), dir.path().join("empty"));
    prl_dataset::write(&plain, &arrays, &map(), manifest_input()).unwrap();
    let manifest = DatasetWriter::new(&arrays, &map(), manifest_input())
        .details(EventDetails::default())
        .write(&empty)
        .unwrap();
    assert_eq!(manifest.format_version, 1);
    for name in ["events.safetensors", "items.safetensors", "manifest.json"] {
        let bytes = |of: &std::path::Path| std::fs::read(of.join(name)).unwrap();
        assert_eq!(bytes(&plain), bytes(&empty));
    }
    let json = std::fs::read_to_string(plain.join("manifest.json")).unwrap();
    for key in ["kinds", "plausibility", "log"] {
        assert!(!json.contains(&format!("\"{key}\"")), "{key}");
    }
    assert_eq!(Manifest::read(&plain).unwrap(), manifest);
}

#[test]
fn inconsistent_details_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let arrays = arrays(&sessions());
    let refused = |change: fn(&mut EventDetails), says: &str| {
        let mut details = details();
        change(&mut details);
        let out = dir.path().join("out");
        let map = map();
        let writer = DatasetWriter::new(&arrays, &map, manifest_input());
        let error = writer.details(details).write(&out).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(!out.exists());
    };
    refused(|d| d.labels.truncate(4), "4 labels for 5 events");
    refused(|d| d.rewards.truncate(1), "1 rewards for 5 events");
    refused(|d| d.labels[0] = 3, "no event kind has the label 3");
    refused(|d| d.labels[0] = 2, "an event of \"buy\" is no purchase");
    refused(|d| d.rewards[2] = -1.0, "negative");
    refused(|d| d.rewards[2] = f32::INFINITY, "infinite");
    refused(|d| d.kinds[1].reward = Some(f64::NAN), "\"cart\"");
}
