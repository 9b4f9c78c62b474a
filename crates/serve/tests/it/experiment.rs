//! Arms of an experiment in answers, metrics and log.

use std::path::Path;

use prl_arms::{Error, EventKind, Experiment, Log, Record, SessionOptions};
use prl_serve::{Options, Server};
use serde_json::{Value, json};

use crate::common::http::send;
use crate::common::{JSON, TestServer, run};

const TEXT: &str = "name = 'dial'\nseed = 3\n[[arm]]\nname = 'low'\nask = { mu = 0.5 }\n\
                    [[arm]]\nname = 'high'\nshare = 3\nask = { mu = 4.0 }\n";

fn experiment() -> Experiment {
    Experiment::from_toml("e.toml", TEXT).unwrap()
}

fn server(dir: &Path) -> TestServer {
    TestServer::start(|options| {
        options.experiment = Some(experiment());
        options.experiment_log = Some(dir.to_owned());
    })
}

/// Arm and prompt of a session, from the definition.
fn expected(session: &str) -> (String, f64, f64) {
    let experiment = experiment();
    let assigned = experiment.assign(session);
    let mu = assigned.arm.ask["mu"].as_f64().unwrap();
    (assigned.arm.name.clone(), assigned.p, mu)
}

fn records(dir: &Path) -> Vec<Record> {
    let log = Log::open(dir).unwrap();
    log.records().map(|read| read.unwrap().1).collect()
}

#[test]
fn named_session_is_answered_by_its_arm() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let mut questions = Vec::new();
    let mut arms = std::collections::BTreeSet::new();
    for i in 0..8 {
        let session = format!("s{i}");
        let (arm, p, mu) = expected(&session);
        let question = json!({"session": session, "items": ["item-1", "no", "item-2"], "k": 5});
        let reply = server.post("/v1/recommend", &question).json();
        assert_eq!((&reply["arm"], &reply["p"]), (&json!(arm), &json!(p)));
        let own = json!({"items": ["item-1", "no", "item-2"], "k": 5, "mu": mu});
        let own = server.post("/v1/recommend", &own).json();
        assert_eq!(
            (&reply["items"], &reply["prompt"]),
            (&own["items"], &own["prompt"])
        );
        assert_eq!((own.get("arm"), own.get("p")), (None, None));
        questions.push(question);
        arms.insert(arm);
    }
    assert_eq!(arms.len(), 2, "both arms are tested");
    let single = records(dir.path());
    let batch = server
        .post("/v1/recommend/batch", &json!({"questions": questions}))
        .json();
    let both = records(dir.path());
    assert_eq!((single.len(), both.len()), (8, 16));
    for (i, (one, again)) in both[..8].iter().zip(&both[8..]).enumerate() {
        let (Record::Answer(one), Record::Answer(again)) = (one, again) else {
            panic!("{one:?}");
        };
        let (arm, p, _) = expected(&format!("s{i}"));
        assert_eq!((&one.arm, one.p), (&Some(arm), Some(p)));
        assert_eq!((one.step, one.experiment.as_deref()), (2, Some("dial")));
        assert_eq!((one.items.len(), &one.items), (5, &again.items));
        let answer = &batch["answers"][i];
        assert_eq!(json!(one.model), answer["model"]);
        assert_eq!(json!(one.arm), answer["arm"]);
        for (item, (id, score)) in one.items.iter().zip(&one.scores).enumerate() {
            let shown = &answer["items"][item];
            assert_eq!(json!(id), shown["item"]);
            assert_eq!(*score, shown["score"].as_f64().unwrap() as f32);
        }
    }
    let text = server.get("/metrics").body;
    let counts = ["low", "high"].map(|arm| {
        let name = format!("prl_arm_answers_total{{arm=\"{arm}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap().parse::<u64>().unwrap()
    });
    assert_eq!(counts.iter().sum::<u64>(), 16);
}

#[test]
fn request_with_its_own_prompt_is_outside_the_experiment() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    for prompt in [
        json!({"mu": 1}),
        json!({"quantile": 0.5}),
        json!({"sequence_wise": true}),
    ] {
        let mut question = json!({"session": "s", "items": []});
        question
            .as_object_mut()
            .unwrap()
            .extend(prompt.as_object().unwrap().clone());
        let reply = server.post("/v1/recommend", &question).json();
        assert_eq!(reply.get("arm"), None, "{question}");
    }
    for record in records(dir.path()) {
        let Record::Answer(answer) = record else {
            panic!("{record:?}");
        };
        assert_eq!(
            (answer.arm, answer.p, answer.experiment),
            (None, None, None)
        );
    }
    let read = Log::open(dir.path())
        .unwrap()
        .sessions(&SessionOptions::default());
    assert!(matches!(
        read,
        Err(Error::NoPropensities { answers: 3, .. })
    ));
}

#[test]
fn stored_session_and_its_events_are_one_session_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let events = |path: &str, body: Value| {
        let reply = server.post(path, &body);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["events"].clone()
    };
    let click = json!({"events": [{"item": "item-1"}]});
    assert_eq!(events("/v1/sessions/a/events", click.clone()), 1);
    let reply = server
        .post("/v1/sessions/a/recommend", &json!({"k": 3}))
        .json();
    let (arm, p, mu) = expected("a");
    assert_eq!((&reply["arm"], &reply["p"]), (&json!(arm), &json!(p)));
    assert_eq!(reply["prompt"]["relative"]["mu"], mu);
    let bought = json!({"events": [{"item": "item-2", "type": "purchase", "value": 19.5}]});
    assert_eq!(events("/v1/sessions/a/events", bought), 2);
    server.post(
        "/v1/recommend",
        &json!({"session": "b", "items": ["item-4"]}),
    );
    let logged = json!({"session": "b", "events": [{"item": "item-5"}, {"item": "unknown"}]});
    assert_eq!(events("/v1/events", logged), 2);

    let log = Log::open(dir.path())
        .unwrap()
        .sessions(&SessionOptions::default())
        .unwrap();
    let [a, b] = log.records.as_slice() else {
        panic!("{log:?}");
    };
    assert_eq!(
        (a.step, a.clicks_before, a.clicks, a.purchases),
        (1, 1, 0, 1)
    );
    assert_eq!(
        (a.value, log.arms[a.arm as usize].as_str()),
        (19.5, arm.as_str())
    );
    assert_eq!(
        (b.session.as_str(), b.step, b.clicks, b.purchases),
        ("b", 1, 2, 0)
    );
    let Record::Event(event) = &records(dir.path())[2] else {
        panic!("{:?}", records(dir.path()));
    };
    assert_eq!(
        (event.item.as_str(), event.kind),
        ("item-2", EventKind::Purchase)
    );
}

#[test]
fn invalid_events_are_neither_logged_nor_stored() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    for (path, body) in [
        ("/v1/events", json!({"events": [{"item": "1"}]})),
        ("/v1/events", json!({"session": "s"})),
        (
            "/v1/events",
            json!({"session": "s", "events": [{"item": "1", "type": "cart"}]}),
        ),
        (
            "/v1/events",
            json!({"session": "s", "events": [{"item": "1", "value": "9"}]}),
        ),
        (
            "/v1/events",
            json!({"session": "x".repeat(300), "events": []}),
        ),
        (
            "/v1/sessions/s/events",
            json!({"events": [{"item": "1"}, {"item": "1", "price": 2}]}),
        ),
    ] {
        let reply = send(server.addr, "POST", path, &[JSON], &body.to_string());
        assert_eq!(reply.status, 422, "{body}: {reply:?}");
    }
    assert_eq!(records(dir.path()), []);
    let plain = TestServer::start(|_| ());
    let reply = plain.post(
        "/v1/events",
        &json!({"session": "s", "events": [{"item": "1"}]}),
    );
    assert_eq!(
        (reply.status, &reply.json()["type"]),
        (403, &json!("urn:prl:problem:no-log"))
    );
}

#[test]
fn reload_keeps_the_arms() {
    let dir = tempfile::tempdir().unwrap();
    let key = ("authorization", "Bearer k");
    let server = TestServer::start(|options| {
        options.experiment = Some(experiment());
        options.experiment_log = Some(dir.path().to_owned());
        options.key = prl_serve::ApiKey::new("k");
    });
    let ask = |path: &str, body: &str| {
        let reply = send(server.addr, "POST", path, &[JSON, key], body);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    };
    let question = r#"{"session":"s","items":["item-1"]}"#;
    let before = ask("/v1/recommend", question);
    ask("/v1/admin/reload", "{}");
    assert_eq!(ask("/v1/recommend", question), before);
    assert_eq!(records(dir.path()).len(), 2);
}

#[test]
fn arm_that_the_run_cannot_answer_stops_the_server() {
    let text = TEXT.replacen("mu = 0.5", "state_quantile = 0.9", 1);
    let mut options = Options::new(run());
    options.addr.set_port(0);
    options.experiment = Some(Experiment::from_toml("e.toml", &text).unwrap());
    let error = Server::start(options)
        .unwrap()
        .wait()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("arm \"low\"") && error.contains("forecast"),
        "{error}"
    );
}

#[test]
fn arm_without_a_valid_prompt_stops_the_start() {
    for (ask, expected) in [
        (
            "{ k = 5 }",
            "e.toml:4: arm \"low\": only fields that set a prompt",
        ),
        ("{ quantile = 2 }", "e.toml:4: arm \"low\": quantile"),
        (
            "{ mu = 1, max_return = true }",
            "e.toml:4: arm \"low\": more than one kind",
        ),
    ] {
        let text = TEXT.replacen("{ mu = 0.5 }", ask, 1);
        let mut options = Options::new(run());
        options.addr.set_port(0);
        options.experiment = Some(Experiment::from_toml("e.toml", &text).unwrap());
        let error = Server::start(options).err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
