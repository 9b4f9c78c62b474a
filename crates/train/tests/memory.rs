//! Resident memory is constant from epoch 2 to epoch 30 of training. The test has a process of its
//! own because it reads the memory of the whole process.
#![cfg(target_os = "linux")]

mod common;

use std::sync::atomic::AtomicBool;

use common::{quick, ring};
use prl_runs::{Config, Device, Method};
use prl_train::{Evaluation, Observer, Trainer};

/// Tolerated growth in KB, due to the allocator.
const SLACK_KB: u64 = 4 << 10;

/// Resident memory in KB at the end of each epoch.
#[derive(Default)]
struct Watch(Vec<u64>);

impl Observer for Watch {
    fn evaluated(&mut self, _: &Evaluation, _: bool) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        self.0
            .push(line.trim().trim_end_matches(" kB").parse().unwrap());
    }
}

#[test]
fn slow_memory_stays_flat_over_thirty_epochs() {
    prl_kernels::runtime::prepare();
    let dir = tempfile::tempdir().unwrap();
    let data = ring(dir.path(), 2000);
    for method in [Method::Prl, Method::Sac] {
        // 1,600 sessions of six events train.
        let epoch = 9600 / 64;
        let config = Config {
            method,
            epochs: 30,
            max_steps: None,
            eval_every: epoch,
            ..quick(data.clone())
        };
        let mut watch = Watch::default();
        Trainer::new(&config, &dir.path().join(method.name()))
            .device(&Device::Cpu)
            .stop_flag(&AtomicBool::new(false))
            .run(&mut watch)
            .unwrap();
        let Watch(at) = watch;
        assert_eq!(at.len(), 30);
        let most = at[2..].iter().max().unwrap();
        assert!(*most <= at[1] + SLACK_KB, "{}: {at:?}", method.name());
    }
}
