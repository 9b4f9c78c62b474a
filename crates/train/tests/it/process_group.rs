//! Data-parallel training with threads as ranks: two ranks give the weights of one, a stopped run
//! resumes, and invalid settings are rejected.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use crate::common::{ITEMS, Quiet, StopAt, quick, ring, same_end};
use crate::training::with_negatives;
use candle_core::DType;
use prl_dataset::Dataset;
use prl_encoders::EncoderKind;
use prl_kernels::ops::adam::Adam;
use prl_model::{
    Buffer, MainNetwork, Model, ModelSpec, NegativeSampler, NegativeSampling, ProcessGroup,
    SingleProcess, StepTimes,
};
use prl_runs::{Config, Device, Error, Method, Run, Sampling};
use prl_train::{Batches, Outcome, Trainer};

/// Rendezvous of the rank threads.
struct Meeting {
    barrier: Barrier,
    brought: Mutex<Vec<Vec<u8>>>,
}

/// A process group rank that is a thread.
struct Thread {
    rank: usize,
    meeting: Arc<Meeting>,
}

impl ProcessGroup for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.meeting.brought.lock().unwrap().len()
    }

    fn all_reduce_sum(&self, numbers: Buffer<'_>) {
        match numbers {
            Buffer::F32(x) => self.sum_of(x),
            Buffer::F64(x) => self.sum_of(x),
        }
    }

    fn all_gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.meeting.brought.lock().unwrap()[self.rank] = bytes.to_vec();
        self.meeting.barrier.wait();
        let all = self.meeting.brought.lock().unwrap().clone();
        self.meeting.barrier.wait();
        all
    }
}

impl Thread {
    fn sum_of<T: bytemuck::Pod + std::iter::Sum>(&self, x: &mut [T]) {
        let all = self.all_gather(bytemuck::cast_slice(x));
        let all: Vec<Vec<T>> = all
            .iter()
            .map(|bytes| bytemuck::pod_collect_to_vec(bytes))
            .collect();
        x.iter_mut()
            .enumerate()
            .for_each(|(i, x)| *x = all.iter().map(|one| one[i]).sum());
    }
}

/// Results of `work` on each of `size` ranks.
fn on_ranks<R: Send>(size: usize, work: impl Fn(Arc<dyn ProcessGroup>) -> R + Sync) -> Vec<R> {
    let meeting = Arc::new(Meeting {
        barrier: Barrier::new(size),
        brought: Mutex::new(vec![Vec::new(); size]),
    });
    thread::scope(|scope| {
        let start = |rank| {
            let (meeting, work) = (Arc::clone(&meeting), &work);
            scope.spawn(move || work(Arc::new(Thread { rank, meeting })))
        };
        let threads: Vec<_> = (0..size).map(start).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// Losses and weights of one rank after six steps.
fn six_steps(
    config: &Config,
    dtype: DType,
    ranks: Arc<dyn ProcessGroup>,
) -> (Vec<f64>, Vec<(String, Vec<f64>)>) {
    let data = Dataset::open(&config.data).unwrap();
    let returns = Run::open(&config.data.with_file_name("run")).unwrap();
    let block = config.block();
    let plan = ModelSpec {
        dim: config.model.dim,
        items: ITEMS as usize,
        block,
        is_double: false,
        seed: 3,
        dtype,
        options: config.model.network_options(),
    };
    let mut model = Model::new(&config.model, &plan, &Device::Cpu)
        .unwrap()
        .with_process_group(Arc::clone(&ranks))
        .unwrap();
    let batches = Batches::new(&data, config, returns.returns()).with_process_group(&*ranks);
    if let Some(options) = config.negative_options() {
        let sampler = NegativeSampler::new(options, &batches.target_counts(), 3).unwrap();
        model = model.with_negatives(sampler).unwrap();
    }
    let step = |t| {
        model
            .step(
                Adam::new(0.005),
                MainNetwork::single(t),
                &batches.at(t),
                &mut StepTimes::default(),
            )
            .unwrap()
    };
    let losses = (1..=6).map(step).collect();
    let values = |var: &candle_core::Var| {
        var.to_dtype(DType::F64)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f64>()
            .unwrap()
    };
    (
        losses,
        model
            .parameters()
            .map(|(name, var)| (name, values(var)))
            .collect(),
    )
}

/// Whether a parameter is the key bias of an attention layer. A softmax is invariant to it, so its
/// gradient is rounding error only, which Adam scales to full steps.
fn is_noise(name: &str) -> bool {
    name.ends_with("k_proj.bias")
}

fn furthest(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}

/// A dataset, and a run on it with saved return statistics.
fn prepared(dir: &Path) -> Config {
    let config = Config {
        max_steps: Some(60),
        eval_every: 20,
        ..quick(ring(dir, 200))
    };
    let once = Config {
        method: Method::Popularity,
        ..config.clone()
    };
    Trainer::new(&once, &dir.join("run"))
        .device(&Device::Cpu)
        .stop_flag(&AtomicBool::new(false))
        .run(&mut Quiet)
        .unwrap();
    config
}

#[test]
fn several_processes_take_the_steps_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let base = prepared(dir.path());
    for &encoder in EncoderKind::ALL {
        for method in [Method::Normal, Method::Prl] {
            let mut config = Config {
                method,
                batch_size: 64,
                ..base.clone()
            };
            config.model.encoder = encoder;
            for (dtype, size, bound) in [
                (DType::F64, 2, 1e-12),
                (DType::F64, 4, 1e-12),
                (DType::F32, 2, 5e-6),
            ] {
                let (losses, weights) = six_steps(&config, dtype, Arc::new(SingleProcess));
                let all = on_ranks(size, |ranks| six_steps(&config, dtype, ranks));
                let what = format!("{} {} {dtype:?} on {size}", encoder.name(), method.name());
                assert!(all.iter().all(|one| *one == all[0]), "{what}: ranks part");
                assert!(
                    furthest(&losses, &all[0].0) < bound,
                    "{what}: {losses:?} {:?}",
                    all[0].0
                );
                for ((name, one), (_, many)) in weights.iter().zip(&all[0].1) {
                    let far = furthest(one, many);
                    println!("{what}: {name} {far:.1e}");
                    assert!(
                        far < bound || is_noise(name) && dtype == DType::F32,
                        "{what}: {name} is {far:e} off"
                    );
                }
            }
        }
    }
}

#[test]
fn several_processes_with_negatives_take_the_steps_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let base = prepared(dir.path());
    for (sampling, tied) in [
        (NegativeSampling::Popularity, false),
        (NegativeSampling::InBatch, true),
    ] {
        let mut config = with_negatives(base.clone(), 12, sampling);
        config.model.tied = tied;
        let one = six_steps(&config, DType::F64, Arc::new(SingleProcess));
        let all = on_ranks(2, |ranks| six_steps(&config, DType::F64, ranks));
        assert!(all[0] == all[1], "ranks part");
        assert!(furthest(&one.0, &all[0].0) < 1e-12);
        for ((name, one), (_, two)) in one.1.iter().zip(&all[0].1) {
            assert!(furthest(one, two) < 1e-12, "{name}");
        }
    }
}

#[test]
fn run_of_two_processes_stops_for_either_and_resumes_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let config = prepared(dir.path());
    // The rank that is asked, and after which step.
    let go_on = |out: &Path, asked: usize, at: u64| {
        let outcomes = on_ranks(2, |ranks| {
            let stop = AtomicBool::new(false);
            let mut observer = StopAt(if ranks.rank() == asked { at } else { 0 }, &stop);
            Trainer::new(&config, out)
                .device(&Device::Cpu)
                .resume(true)
                .process_group(&ranks)
                .stop_flag(&stop)
                .run(&mut observer)
                .unwrap()
        });
        let steps = outcomes.iter().map(|outcome| match outcome {
            Outcome::Interrupted(step) => *step,
            Outcome::Finished(manifest) => manifest.steps,
        });
        steps.collect::<Vec<_>>()
    };
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    assert_eq!(go_on(&whole, 0, 0), [60, 60]);
    assert_eq!(go_on(&parts, 0, 7), [7, 7]);
    assert_eq!(go_on(&parts, 1, 33), [33, 33]);
    assert_eq!(go_on(&parts, 1, 0), [60, 60]);
    same_end(&whole, &parts);
}

#[test]
fn error_of_one_process_ends_all() {
    let dir = tempfile::tempdir().unwrap();
    let config = prepared(dir.path());
    let errors = |config: &Config| {
        let end = |ranks: Arc<dyn ProcessGroup>| {
            let out = dir.path().join("run");
            Trainer::new(config, &out)
                .device(&Device::Cpu)
                .process_group(&ranks)
                .stop_flag(&AtomicBool::new(false))
                .run(&mut Quiet)
                .unwrap_err()
        };
        on_ranks(2, end)
    };
    let said = |config: &Config, what: &str| {
        errors(config).iter().all(|e| {
            matches!(
                e,
                Error::Config(_) | Error::Model(prl_model::Error::Config(_))
            ) && e.to_string().contains(what)
        })
    };
    assert!(said(
        &Config {
            batch_size: 63,
            ..config.clone()
        },
        "63 does not fall into 2 equal shares"
    ));
    assert!(said(
        &Config {
            method: Method::Sqn,
            ..config.clone()
        },
        "one rank only"
    ));
    assert!(said(
        &Config {
            method: Method::Popularity,
            ..config.clone()
        },
        "no training to share"
    ));
    assert!(said(
        &Config {
            sampling: Sampling::Session,
            ..config.clone()
        },
        "sampling = \"session\" trains on one rank only"
    ));
    // The first alone looks whether the directory is free.
    let [first, second] = &errors(&config)[..] else {
        panic!()
    };
    assert!(
        matches!(first, Error::Run { .. }) && first.to_string().contains("--resume"),
        "{first}"
    );
    assert!(
        matches!(second, Error::Model(prl_model::Error::Rank { rank: 0, .. }))
            && second.to_string().contains("--resume"),
        "{second}"
    );
    // A training that diverges does so for both, in the same words.
    let wild = Config {
        lr: Some(1e30),
        ..config.clone()
    };
    let out = dir.path().join("wild");
    let ends = on_ranks(2, |ranks| {
        Trainer::new(&wild, &out)
            .device(&Device::Cpu)
            .process_group(&ranks)
            .stop_flag(&AtomicBool::new(false))
            .run(&mut Quiet)
            .unwrap_err()
    });
    assert!(
        ends.iter().all(
            |e| matches!(e, Error::Model(prl_model::Error::Diverged { step, .. }) if *step >= 2)
        ),
        "{ends:?}"
    );
    assert_eq!(ends[0].to_string(), ends[1].to_string());
}
