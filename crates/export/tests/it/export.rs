//! Files of exports.

use candle_core::safetensors::load;
use candle_core::{DType, Device};
use prl_dataset::Dataset;
use prl_eval::{CaseSplit, Conventions};
use prl_export::{Error, ExportOptions, Format, Metrics, export};
use prl_runs::{CaseLog, Config, Evaluation, Method, Recipe};
use serde_json::Value;

use crate::common::{ITEMS, dataset, random_run};

fn options(format: Format, metrics: Metrics) -> ExportOptions {
    ExportOptions { format, metrics }
}

fn small(data: std::path::PathBuf, recipe: Recipe) -> Config {
    let mut config = Config::of_recipe(recipe);
    config.data = data;
    config.model.dim = 6;
    config.model.window = 5;
    config
}

#[test]
fn hub_export_has_the_layout_of_a_model_repository() {
    let (dir, data) = dataset();
    let run = random_run(dir.path(), &small(data.clone(), Recipe::Modern));
    let to = dir.path().join("hub");
    let files = export(&run, &to, &options(Format::Hub, Metrics::Recorded)).unwrap();
    let mut names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    names.sort_unstable();
    let expected = [
        "README.md",
        "config.json",
        "items.json",
        "model.onnx",
        "model.safetensors",
        "preprocessing.json",
    ];
    assert_eq!(names, expected);
    let read = |name: &str| std::fs::read_to_string(to.join(name)).unwrap();
    let config: Value = serde_json::from_str(&read("config.json")).unwrap();
    assert_eq!(config["items"], ITEMS);
    assert_eq!(config["settings"]["model"]["dim"], 6);
    let all = ["README.md", "config.json", "preprocessing.json"]
        .map(read)
        .concat();
    assert!(
        !all.contains(data.to_str().unwrap()),
        "a path of this machine"
    );
    let card = read("README.md");
    assert!(card.starts_with("---\nlibrary_name: prl\n"), "{card}");
    for part in [
        run.dataset(),
        "## Metrics",
        "## Conventions",
        "## Limits",
        "**synthetic**",
    ] {
        assert!(card.contains(part), "{part}: {card}");
    }
    let items: Vec<String> = serde_json::from_str(&read("items.json")).unwrap();
    assert_eq!((items.len(), items[3].as_str()), (ITEMS as usize, "item-3"));
    let prompt: Value = serde_json::from_str(&read("preprocessing.json")).unwrap();
    assert_eq!(prompt["prompt"]["mean_return"][0], run.returns().mean_at(0));
    assert_eq!(
        (&prompt["pad"], &prompt["window"]),
        (&Value::from(ITEMS), &Value::from(5))
    );
}

#[test]
fn exported_tensors_are_those_of_the_checkpoint() {
    let (dir, data) = dataset();
    let run = random_run(dir.path(), &small(data, Recipe::Paper));
    let to = dir.path().join("weights-only");
    export(&run, &to, &options(Format::Safetensors, Metrics::Recorded)).unwrap();
    let exported = load(to.join("model.safetensors"), &Device::Cpu).unwrap();
    let saved = load(run.best().dir().join("weights.safetensors"), &Device::Cpu).unwrap();
    assert_eq!(exported.len(), saved.len());
    for (name, tensor) in saved {
        let bits = |tensor: &candle_core::Tensor| {
            let tensor = tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
            tensor.to_vec1::<f32>().unwrap()
        };
        assert_eq!(exported[&name].dims(), tensor.dims(), "{name}");
        assert_eq!(bits(&exported[&name]), bits(&tensor), "{name}");
    }
}

#[test]
fn export_into_a_used_directory_is_refused_and_changes_nothing() {
    let (dir, data) = dataset();
    let run = random_run(dir.path(), &small(data, Recipe::Paper));
    let to = dir.path().join("used");
    std::fs::create_dir(&to).unwrap();
    std::fs::write(to.join("mine"), "kept").unwrap();
    let error = export(&run, &to, &options(Format::Hub, Metrics::Recorded)).unwrap_err();
    assert!(matches!(error, Error::Occupied { .. }), "{error}");
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), 1);
    std::fs::remove_file(to.join("mine")).unwrap();
    assert_eq!(
        export(&run, &to, &options(Format::Onnx, Metrics::Recorded))
            .unwrap()
            .len(),
        4
    );
}

#[test]
fn export_of_a_baseline_says_what_to_do() {
    let (dir, data) = dataset();
    let mut config = small(data.clone(), Recipe::Paper);
    config.method = Method::Popularity;
    let out = dir.path().join("popularity");
    std::fs::create_dir(&out).unwrap();
    let data = prl_dataset::Dataset::open(&data).unwrap();
    let run = prl_runs::Run::create(&out, &config, &data).unwrap();
    let error = export(
        &run,
        &dir.path().join("to"),
        &options(Format::Onnx, Metrics::Recorded),
    )
    .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("popularity") && message.contains("prl serve"),
        "{message}"
    );
    assert!(!dir.path().join("to").exists());
}

#[test]
fn card_states_the_metrics_of_the_test_split_with_their_intervals() {
    let (dir, data) = dataset();
    let run = random_run(dir.path(), &small(data.clone(), Recipe::Paper));
    let data = Dataset::open(&data).unwrap();
    let log = CaseLog::own(&run, &data, CaseSplit::Test, Conventions::default()).unwrap();
    let model = run.load(&Device::Cpu).unwrap();
    let report = Evaluation::new(&run, &model).run(&log, &mut []).unwrap();
    let value = report.scores.all.hr20.unwrap();
    let interval = report.intervals.all.hr20.unwrap();
    let row = format!(
        "| all | 50 | HR@20 | {value:.4} | {:.4} to {:.4} |",
        interval.lo, interval.hi
    );
    let evaluated = options(Format::Hub, Metrics::Evaluate(None));
    let one = dir.path().join("one");
    export(&run, &one, &evaluated).unwrap();
    let card = std::fs::read_to_string(one.join("README.md")).unwrap();
    assert!(card.contains(&row), "{row}: {card}");
    assert!(card.contains("test split"), "{card}");

    let file = dir.path().join("evaluation.json");
    std::fs::write(&file, serde_json::to_vec(&report).unwrap()).unwrap();
    let given = options(Format::Hub, Metrics::File(file.clone()));
    let two = dir.path().join("two");
    export(&run, &two, &given).unwrap();
    assert_eq!(
        card,
        std::fs::read_to_string(two.join("README.md")).unwrap()
    );

    let mut other = report;
    other.setting.dataset = "0123".into();
    std::fs::write(&file, serde_json::to_vec(&other).unwrap()).unwrap();
    let three = dir.path().join("three");
    let error = export(&run, &three, &given).unwrap_err().to_string();
    assert!(
        error.contains("dataset 0123") && error.contains(run.dataset()),
        "{error}"
    );
    std::fs::write(&file, "{}").unwrap();
    let error = export(&run, &three, &given).unwrap_err().to_string();
    assert!(error.contains("prl evaluate"), "{error}");
    assert!(!three.exists());
}
