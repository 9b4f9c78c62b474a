//! Tests of the fields and their limits.

use super::*;

fn resolve(text: &str) -> Result<RecommendRequest, String> {
    let fields = RequestFields::parse(text.as_bytes());
    let request = fields.and_then(|fields| fields.resolve(PromptSpec::default()));
    request.map_err(|error| error.to_string())
}

#[test]
fn hostile_values_are_rejected_in_the_words_of_the_sender() {
    let k = "k: expected a whole number from 1 to 1000, found ";
    let cases = [
        (r#""k": -1"#, format!("{k}-1")),
        (r#""k": 0"#, format!("{k}0")),
        (r#""k": 1001"#, format!("{k}1001")),
        (r#""k": 1.5"#, format!("{k}1.5")),
        (r#""k": "5""#, format!("{k}the text \"5\"")),
        (r#""k": 1e99"#, format!("{k}1e+99")),
        (
            r#""k": 18446744073709551616"#,
            format!("{k}1.8446744073709552e+19"),
        ),
        (r#""k": [5]"#, format!("{k}a list")),
        (r#""k": true"#, format!("{k}true")),
        (
            r#""mu": "x""#,
            "mu: expected a number, found the text \"x\"".into(),
        ),
        (
            r#""mu": 1e300"#,
            "mu: expected a number from -1000000 to 1000000, found 1e300".into(),
        ),
        (
            r#""eps": -0.5"#,
            "eps: expected a number from 0 to 1000000, found -0.5".into(),
        ),
        (
            r#""quantile": 2"#,
            "quantile: expected a number from 0 to 1, found 2".into(),
        ),
        (
            r#""tilt": 101"#,
            "tilt: expected a number from -100 to 100, found 101".into(),
        ),
        (
            r#""items": "a""#,
            "items: expected a list of ids, found the text \"a\"".into(),
        ),
        (
            r#""items": ["a", {}]"#,
            "items[1]: expected an item id: a string, or a non-negative whole number, found \
             an object"
                .into(),
        ),
        (
            r#""kinds": ["view"]"#,
            "kinds[0]: expected click or purchase, found the text \"view\"".into(),
        ),
        (
            r#""items": ["a"], "kinds": []"#,
            "kinds holds 0 values for 1 items; give one for each item".into(),
        ),
        (
            r#""exclude_seen": 1"#,
            "exclude_seen: expected true or false, found 1".into(),
        ),
        (r#""k": 1, "k": 2"#, "k is given twice; give it once".into()),
    ];
    for (fields, expected) in cases {
        let text = if fields.contains("items") {
            format!("{{{fields}}}")
        } else {
            format!("{{\"items\": [], {fields}}}")
        };
        assert_eq!(resolve(&text), Err(expected), "{text}");
    }
    let unknown = resolve(r#"{"items": [], "top": 3}"#).unwrap_err();
    assert!(
        unknown.starts_with("unknown field `top`; expected one of session, items"),
        "{unknown}"
    );
    let nan = resolve(r#"{"items": [], "mu": NaN}"#).unwrap_err();
    assert_eq!(nan, "not valid JSON at column 21: expected value");
    assert!(
        resolve("[]")
            .unwrap_err()
            .starts_with("expected a JSON object")
    );
}

#[test]
fn number_that_is_not_finite_is_rejected_without_json() {
    for mu in [f64::NAN, f64::INFINITY, -2e6] {
        let fields = RequestFields {
            items: Some(Vec::new()),
            mu: Some(mu),
            ..RequestFields::default()
        };
        assert!(fields.resolve(PromptSpec::default()).is_err(), "{mu}");
    }
}

#[test]
fn kinds_and_purchased_give_the_same_events() {
    let by_kind = resolve(r#"{"items": [1, "b"], "kinds": ["click", "purchase"]}"#).unwrap();
    let by_item = resolve(r#"{"items": ["1", "b"], "purchased": ["b"]}"#).unwrap();
    assert_eq!(by_kind, by_item);
    assert_eq!(by_kind.session[1].kind, Kind::Purchase);
    assert_eq!((by_kind.k, by_kind.case), (20, 0));
}

#[test]
fn own_fields_win_over_defaults() {
    let defaults = RequestFields {
        k: Some(3),
        exclude_seen: Some(true),
        exclude: Some(vec![Id("a".into())]),
        ..RequestFields::default()
    };
    let mut own = RequestFields::parse(br#"{"items": [], "exclude_seen": false}"#).unwrap();
    own.fill(&defaults);
    let request = own.resolve(PromptSpec::default()).unwrap();
    assert_eq!((request.k, request.filter.exclude_seen), (3, false));
    assert_eq!(request.filter.exclude, ["a"]);
}

#[test]
fn long_text_is_shortened_in_an_error() {
    let text = format!("{{\"items\": \"{}\"}}", "é".repeat(5_000));
    assert!(resolve(&text).unwrap_err().len() < 200);
}
