//! Files of exports.

use candle_core::safetensors::load;
use candle_core::{DType, Device};
use prl_export::{Error, ExportOptions, Format, export};
use prl_runs::{Config, Method, Recipe};
use serde_json::Value;

use crate::common::{ITEMS, dataset, random_run};

fn options(format: Format) -> ExportOptions {
    ExportOptions {
        format,
        evaluation: None,
    }
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
    let files = export(&run, &to, &options(Format::Hub)).unwrap();
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
    export(&run, &to, &options(Format::Safetensors)).unwrap();
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
    let error = export(&run, &to, &options(Format::Hub)).unwrap_err();
    assert!(matches!(error, Error::Occupied { .. }), "{error}");
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), 1);
    std::fs::remove_file(to.join("mine")).unwrap();
    assert_eq!(export(&run, &to, &options(Format::Onnx)).unwrap().len(), 4);
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
    let error = export(&run, &dir.path().join("to"), &options(Format::Onnx)).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("popularity") && message.contains("prl serve"),
        "{message}"
    );
    assert!(!dir.path().join("to").exists());
}

#[test]
fn evaluation_of_another_dataset_is_refused() {
    let (dir, data) = dataset();
    let run = random_run(dir.path(), &small(data, Recipe::Paper));
    let file = dir.path().join("evaluation.json");
    std::fs::write(&file, "{}").unwrap();
    let options = ExportOptions {
        format: Format::Hub,
        evaluation: Some(file),
    };
    let error = export(&run, &dir.path().join("to"), &options).unwrap_err();
    assert!(error.to_string().contains("prl evaluate"), "{error}");
}
