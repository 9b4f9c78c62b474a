//! JSON and table of a report, and its independence of case order and threads.

use prl_dataset::{Kind, Rewards, Split};
use prl_eval::{
    Case, Conventions, Cutoffs, Metric, OtherLog, Recommended, Report, Setting, compare,
};
use serde_json::json;

fn setting() -> Setting {
    let rewards = Rewards {
        click: 0.2,
        purchase: 1.0,
    };
    let (mu, eps, prompt) = (Some(2.0), Some(0.0), None);
    Setting {
        split: Split::Test.into(),
        dataset: "5a17".into(),
        mu,
        eps,
        prompt,
        rewards,
        interval_seed: 1,
        conventions: Conventions::default(),
        other_log: None,
    }
}

/// Statistics of lists of `width` items, one after the other.
fn lists(popularity: Vec<u32>, items: &[u32], width: usize) -> Recommended {
    let mut all = Recommended::new(popularity.len(), Some(popularity)).unwrap();
    for list in items.chunks(width) {
        all.add(list.iter().copied()).unwrap();
    }
    all
}

/// Cases as in a real evaluation: sessions of 1 to 9 events, one event in 25 a purchase.
fn many(sessions: u32) -> (Vec<Case>, Vec<u32>) {
    let events = (0..sessions)
        .flat_map(|s| std::iter::repeat_n(s, 1 + (s % 9) as usize))
        .enumerate();
    let case = |(i, s): (usize, u32)| {
        let kind = if i % 25 == 0 {
            Kind::Purchase
        } else {
            Kind::Click
        };
        (
            Case {
                kind,
                rank: 1 + (i as u32).wrapping_mul(2_654_435_761) % 40,
            },
            s,
        )
    };
    events.map(case).unzip()
}

#[test]
fn report_json_has_the_documented_keys() {
    let cases = [(Kind::Click, 1), (Kind::Click, 7), (Kind::Purchase, 3)]
        .map(|(kind, rank)| Case { kind, rank });
    let lists = lists(vec![4, 2], &[0, 1, 1, 0, 0, 1], 2);
    let report = Report::new(setting(), &cases, &[0, 1, 1], Some(&lists)).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["split"], "test");
    assert_eq!(json["events"], json!({"click": 2, "purchase": 1}));
    assert_eq!(
        json["purchase"],
        json!({"HR@5": 1.0, "NDCG@5": 0.5, "HR@10": 1.0, "NDCG@10": 0.5, "HR@20": 1.0, "NDCG@20": 0.5, "MRR": 1.0 / 3.0})
    );
    assert_eq!(json["click"]["NDCG@10"], json!((1.0 + 1.0 / 3.0) / 2.0));
    assert_eq!(json["all"]["HR@5"], json!(2.0 / 3.0));
    assert_eq!(
        (&json["reward@1"], &json["tie_rule"]),
        (&json!(0.2), &json!("pessimistic"))
    );
    assert_eq!(
        (&json["dataset"], &json["mu"], &json["eps"]),
        (&json!("5a17"), &json!(2.0), &json!(0.0))
    );
    assert_eq!(
        (&json["coverage@20"], &json["mean_popularity@20"]),
        (&json!(1.0), &json!(3.0))
    );
    assert_eq!(
        json["intervals"]["click"]["HR@5"].as_array().unwrap().len(),
        2
    );
    assert_eq!(
        json["intervals"]["purchase"]["MRR"],
        json!(null),
        "one session has no bootstrap interval"
    );
    assert_eq!(
        json["conventions"],
        json!({"skip_first": false, "exclude_last": false, "exclude_seen": false})
    );
    for absent in ["events_per_second", "at_k", "other_log"] {
        assert!(json.get(absent).is_none());
    }
    // Reports that earlier versions wrote name no conventions.
    let mut old = json.clone();
    old.as_object_mut().unwrap().remove("conventions");
    assert_eq!(serde_json::from_value::<Report>(old).unwrap(), report);
    assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
}

#[test]
fn report_undefined_metrics_are_null() {
    let report = Report::new(
        Setting {
            mu: None,
            eps: None,
            ..setting()
        },
        &[],
        &[],
        None,
    )
    .unwrap();
    let json = serde_json::to_value(&report).unwrap();
    for kind in ["purchase", "click", "all"] {
        for metric in Metric::ALL {
            assert_eq!(json[kind][metric.name()], json!(null));
            assert_eq!(json["intervals"][kind][metric.name()], json!(null));
        }
    }
    assert_eq!(
        (&json["coverage@20"], &json["mu"], &json["reward@1"]),
        (&json!(null), &json!(null), &json!(0.0))
    );
    assert!(report.to_string().contains('-') && !report.to_string().contains("NaN"));
}

#[test]
fn report_intervals_contain_their_values() {
    let (cases, sessions) = many(500);
    let report = Report::new(setting(), &cases, &sessions, None).unwrap();
    for (values, intervals) in [
        (report.scores.purchase, report.intervals.purchase),
        (report.scores.click, report.intervals.click),
    ] {
        for metric in Metric::ALL {
            let (value, interval) = (values.get(metric).unwrap(), intervals.get(metric).unwrap());
            assert!(
                interval.lo < value && value < interval.hi,
                "{metric}: {value} {interval:?}"
            );
        }
    }
}

#[test]
fn report_is_independent_of_case_order_and_threads() {
    let (cases, sessions) = many(300);
    let items: Vec<u32> = (0..cases.len() as u32 * 20).map(|i| i % 33).collect();
    let popularity: Vec<u32> = (0..33).collect();
    let measure = |cases: &[Case], sessions: &[u32], items: &[u32], threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let lists = lists(popularity.clone(), items, 20);
        let better: Vec<Case> = cases
            .iter()
            .map(|c| Case {
                rank: c.rank.div_ceil(2),
                ..*c
            })
            .collect();
        pool.install(|| {
            let report = Report::new(setting(), cases, sessions, Some(&lists)).unwrap();
            (
                Cutoffs::new(&[1, 7], cases, sessions, Some(&lists), 3).unwrap(),
                report,
                compare(&[&better], &[cases], sessions, None, Metric::Ndcg20, 5).unwrap(),
            )
        })
    };
    let expected = measure(&cases, &sessions, &items, 1);
    assert_eq!(measure(&cases, &sessions, &items, 4), expected);
    let reversed: (Vec<Case>, Vec<u32>) = cases
        .iter()
        .copied()
        .zip(sessions.iter().copied())
        .rev()
        .unzip();
    let mut lists: Vec<&[u32]> = items.chunks(20).collect();
    lists.reverse();
    let items = lists.concat();
    assert_eq!(measure(&reversed.0, &reversed.1, &items, 3), expected);
}

#[test]
fn report_seed_changes_only_bootstrap_intervals() {
    let (cases, sessions) = many(300);
    let report = |seed| {
        Report::new(
            Setting {
                interval_seed: seed,
                ..setting()
            },
            &cases,
            &sessions,
            None,
        )
        .unwrap()
    };
    let (one, two) = (report(1), report(2));
    assert_eq!(
        (one.scores, one.intervals.all.hr5),
        (two.scores, two.intervals.all.hr5)
    );
    assert_ne!(one.intervals.all.ndcg5, two.intervals.all.ndcg5);
}

#[test]
fn report_table_has_the_columns_of_the_paper() {
    let (cases, sessions) = many(40);
    let mut report = Report::new(setting(), &cases, &sessions, None).unwrap();
    report.events_per_second = Some(1234.5);
    let table = report.to_string();
    let line = |start: &str| {
        table
            .lines()
            .find(|line| line.trim_start().starts_with(start))
            .unwrap()
    };
    let columns: Vec<_> = line("HR@5").split_whitespace().collect();
    assert_eq!(
        columns,
        [
            "HR@5", "NDCG@5", "HR@10", "NDCG@10", "HR@20", "NDCG@20", "MRR"
        ]
    );
    let value = format!("{:.4}", report.scores.purchase.hr5.unwrap());
    assert_eq!(
        line("purchase").split_whitespace().nth(1),
        Some(value.as_str())
    );
    assert!(table.lines().all(|line| line.len() <= 100), "{table}");
    assert!(table.find("purchase ") < table.find("click ") && table.contains("1234 events/s"));
}

#[test]
fn report_names_its_conventions_and_cutoffs() {
    let cases = [
        Case {
            kind: Kind::Click,
            rank: 2,
        },
        Case {
            kind: Kind::Click,
            rank: 30,
        },
    ];
    let lists = lists(vec![4, 2, 0, 0], &[0, 1, 1, 3], 2);
    let mut setting = setting();
    setting.conventions.skip_first = true;
    setting.conventions.exclude_seen = true;
    setting.other_log = Some(OtherLog {
        trained_on: "0b".into(),
        unknown_items: 3,
        unknown_in_states: 5,
        unknown_targets: 4,
    });
    let mut report = Report::new(setting, &cases, &[0, 1], Some(&lists)).unwrap();
    report.at_k = Some(Cutoffs::new(&[2, 1], &cases, &[0, 1], Some(&lists), 1).unwrap());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        json["conventions"],
        json!({"skip_first": true, "exclude_last": false, "exclude_seen": true})
    );
    assert_eq!(json["other_log"]["unknown_targets"], 4);
    let at_k = &json["at_k"];
    assert_eq!(at_k["k"], json!([1, 2]));
    assert_eq!(
        (&at_k["all"]["MRR@2"], &at_k["all"]["precision@2"]),
        (&json!(0.25), &json!(0.25))
    );
    assert_eq!(
        (&at_k["coverage@1"], &at_k["coverage@2"]),
        (&json!(0.5), &json!(0.75))
    );
    assert_eq!(at_k["mean_popularity@1"], 3.0);
    assert_eq!(
        at_k["intervals"]["click"]["HR@1"].as_array().unwrap().len(),
        2
    );
    assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    let text = report.to_string();
    for part in [
        "cases: all events but the first of a session",
        "ranked: all items but those of the session so far",
        "3 items unknown to the run; 5 of their events left out of the states, 4 targets",
        "precision",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
