//! Exported graphs, decoded and run by the [interpreter](crate::interpreter), against the scores of
//! the network.

use prl_core::{AttentionKeys, Prompts, ResidualInput, RewardCode};
use prl_dataset::{Kind, Windows};
use prl_encoders::EncoderKind;
use prl_export::onnx::proto::{Dimension, GraphProto, ModelProto};
use prl_export::{ExportOptions, Format, Metrics, export};
use prl_model::OwnItems;
use prl_runs::{Config, Device, Method, Recipe, Recommender, Run};
use prost::Message;

use crate::common::{ITEMS, dataset, random_run};
use crate::interpreter::{Array, run as interpret};

/// Window length of the tests.
const WINDOW: usize = 5;

/// Settings of a small network.
fn config(recipe: Recipe, encoder: EncoderKind, method: Method, data: &std::path::Path) -> Config {
    let mut config = Config::of_recipe(recipe);
    config.data = data.to_owned();
    config.method = method;
    config.model.encoder = encoder;
    config.model.dim = 6;
    config.model.window = WINDOW;
    config
}

/// Sessions of every length, with repeats and purchases, and a prompt each.
fn batch() -> (Windows, Prompts) {
    let sessions: [&[u32]; 8] = [
        &[],
        &[4],
        &[4, 4],
        &[1, 2, 1],
        &[7, 8, 9, 7],
        &[3, 3, 3, 3, 3],
        &[10, 11, 12, 13, 14, 11],
        &[1, 2, 3, 4, 5, 6, 22, 0, 22],
    ];
    let (mut windows, mut prompts) = (Windows::new(WINDOW), Prompts::default());
    for (i, session) in sessions.iter().enumerate() {
        let mut kinds = vec![Kind::Click; session.len()];
        for kind in kinds.iter_mut().skip(i % 2).step_by(2) {
            *kind = Kind::Purchase;
        }
        windows.push_events(session, &kinds, ITEMS);
        prompts.returns.push(0.9 * i as f64);
        // Beyond the table of steps, too.
        prompts
            .steps
            .push(session.len() as u32 + if i == 6 { 70 } else { 0 });
    }
    (windows, prompts)
}

/// The graph of an exported run.
fn graph(run: &Run, to: &std::path::Path) -> GraphProto {
    let options = ExportOptions {
        format: Format::Onnx,
        metrics: Metrics::Recorded,
    };
    export(run, to, &options).unwrap();
    let bytes = std::fs::read(to.join("model.onnx")).unwrap();
    let model = ModelProto::decode(&bytes[..]).unwrap();
    assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
    model.graph.unwrap()
}

/// The inputs of a batch that the graph has.
fn inputs(graph: &GraphProto, windows: &Windows, prompts: &Prompts) -> Vec<(&'static str, Array)> {
    let n = windows.len();
    let floats = |values: &[u32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let mut counts = Vec::new();
    for &step in &windows.time_steps {
        counts.push(f64::from(step).min(WINDOW as f64));
    }
    let mut kinds = Vec::new();
    for &kind in &windows.kinds {
        kinds.push(f64::from(u8::from(kind == Kind::Purchase)));
    }
    let all = [
        ("items", Array::new(&[n, WINDOW], floats(&windows.items))),
        ("count", Array::new(&[n], counts)),
        ("kinds", Array::new(&[n, WINDOW], kinds)),
        ("target_return", Array::new(&[n], prompts.returns.clone())),
        ("step", Array::new(&[n], floats(&prompts.steps))),
    ];
    let mut present = Vec::new();
    for (name, array) in all {
        if graph.input.iter().any(|input| input.name == name) {
            present.push((name, array));
        }
    }
    assert_eq!(present.len(), graph.input.len());
    present
}

/// Asserts that the exported graph of the settings has the scores of the network.
#[track_caller]
fn assert_same_scores(config: &Config) {
    let what = format!(
        "{} {} {}",
        config.recipe.name(),
        config.model.encoder.name(),
        config.method.name()
    );
    let dir = tempfile::tempdir().unwrap();
    let run = random_run(dir.path(), config);
    let graph = graph(&run, &dir.path().join("export"));
    assert_eq!(
        graph
            .input
            .iter()
            .any(|input| input.name == "target_return"),
        run.load(&Device::Cpu).unwrap().is_prompted(),
        "{what}"
    );
    let (windows, prompts) = batch();
    let scores = interpret(&graph, &inputs(&graph, &windows, &prompts));
    assert_eq!(scores.shape, [windows.len(), ITEMS as usize]);
    let Recommender::Neural(model) = run.load(&Device::Cpu).unwrap() else {
        panic!("{what}")
    };
    let all: Vec<u32> = (0..ITEMS).collect();
    for b in 0..windows.len() {
        let prompt = Prompts {
            returns: vec![prompts.returns[b]],
            steps: vec![prompts.steps[b]],
            tilt: 0.0,
        };
        let expected = model
            .scores(&windows.rows(b..b + 1), &prompt, &all)
            .unwrap();
        for (item, expected) in expected.into_iter().enumerate() {
            let score = scores.data[b * ITEMS as usize + item];
            match expected {
                Some(expected) => {
                    let difference = (score - f64::from(expected)).abs();
                    assert!(
                        difference < 1e-4,
                        "{what}: row {b}, item {item}: {score}, {expected}"
                    );
                }
                None => assert!(score < -5e8, "{what}: row {b}, item {item}: {score}"),
            }
        }
    }
}

#[test]
fn graph_of_every_encoder_and_recipe_has_the_scores_of_the_network() {
    let (_dir, data) = dataset();
    for &encoder in EncoderKind::ALL {
        for recipe in Recipe::ALL {
            for method in [Method::Normal, Method::Prl] {
                assert_same_scores(&config(recipe, encoder, method, &data));
            }
        }
    }
}

#[test]
fn graph_of_every_prompt_block_has_the_scores_of_the_network() {
    let (_dir, data) = dataset();
    let encoder = EncoderKind::ALL[0];
    for method in [
        Method::PrlMean,
        Method::PrlMlp,
        Method::PrlControl,
        Method::Sqn,
    ] {
        assert_same_scores(&config(Recipe::Paper, encoder, method, &data));
    }
    let mut binned = config(Recipe::Modern, encoder, Method::Prl, &data);
    binned.model.reward_code = RewardCode::Binned;
    binned.model.residual = ResidualInput::Raw;
    assert_same_scores(&binned);
    for &encoder in EncoderKind::ALL.iter().filter(|kind| kind.has_outputs()) {
        for recipe in Recipe::ALL {
            let mut released = config(recipe, encoder, Method::Prl, &data);
            released.model.attention = AttentionKeys::Outputs;
            assert_same_scores(&released);
        }
    }
}

#[test]
fn graph_of_every_output_layer_has_the_scores_of_the_network() {
    let (_dir, data) = dataset();
    let encoder = EncoderKind::ALL[0];
    for own_items in [OwnItems::Keep, OwnItems::Exclude, OwnItems::Learned] {
        for temperature in [None, Some(0.2)] {
            let mut config = config(Recipe::Modern, encoder, Method::Normal, &data);
            config.model.own_items = own_items;
            config.model.temperature = temperature;
            assert_same_scores(&config);
            config.model.tied = false;
            config.model.event_kinds = false;
            assert_same_scores(&config);
        }
    }
}

#[test]
fn graph_has_a_batch_axis_and_the_names_of_the_checkpoint() {
    let (dir, data) = dataset();
    let config = config(Recipe::Modern, EncoderKind::modern(), Method::Prl, &data);
    let run = random_run(dir.path(), &config);
    let graph = graph(&run, &dir.path().join("export"));
    for value in graph.input.iter().chain(&graph.output) {
        let shape = value
            .r#type
            .clone()
            .unwrap()
            .tensor_type
            .unwrap()
            .shape
            .unwrap();
        let batch = Dimension::Param("batch".into());
        assert_eq!(shape.dim[0].value, Some(batch), "{}", value.name);
    }
    let Recommender::Neural(model) = run.load(&Device::Cpu).unwrap() else {
        panic!("a network")
    };
    for (name, tensor) in model.named_parameters().unwrap() {
        let found = graph.initializer.iter().find(|tensor| tensor.name == name);
        let found = found.unwrap_or_else(|| panic!("{name}"));
        let dims: Vec<i64> = tensor.dims().iter().map(|&n| n as i64).collect();
        assert_eq!(found.dims, dims, "{name}");
    }
}
