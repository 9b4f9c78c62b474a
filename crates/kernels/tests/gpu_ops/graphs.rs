//! Recorded steps: what they replay, and what ends them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::{DType, Device, Result, Tensor};
use prl_kernels::cuda::{StepGraphs, are_finite};
use prl_kernels::ops::embedding::cuda::gather;

use super::{flat, values};

const WIDTH: usize = 5;

fn gpu() -> Device {
    prl_kernels::cuda::device(0).expect("a GPU, or `cargo xtask cuda-emulator`")
}

fn table() -> Tensor {
    let values = values(&[40, WIDTH], 1).to_dtype(DType::F32).unwrap();
    values.to_device(&gpu()).unwrap()
}

/// The rows of some ids, by the table on the host.
fn expected(table: &Tensor, ids: &[u32]) -> Vec<f64> {
    let all = flat(table);
    let rows = ids.iter().map(|&id| id as usize * WIDTH);
    rows.flat_map(|at| all[at..at + WIDTH].to_vec()).collect()
}

#[test]
fn steps_replay_change_and_capture_graphs() {
    let table = table();
    let mut graphs = StepGraphs::new(&gpu(), [&table].into_iter()).unwrap();
    let mut step = |n: u32, seed: u32| {
        let ids: Vec<u32> = (0..n).map(|i| (i * 7 + seed) % 40).collect();
        let rows: Result<Tensor> = graphs.run(|| gather(&table, &ids, (n as usize, WIDTH)));
        assert_eq!(flat(&rows.unwrap()), expected(&table, &ids), "{n} rows");
        graphs.counts()
    };
    // The same number of rows, other ids: they are uploaded, and the graph is the same.
    assert_eq!(step(3, 0).captured, 1);
    assert_eq!((step(3, 1).captured, step(3, 2).changed_nodes), (1, 0));
    for n in 4..7 {
        step(n, 0);
    }
    // A fifth number of rows changes the graph that was launched longest ago.
    let counts = step(9, 0);
    assert_eq!(
        (counts.captured, counts.updated, counts.changed_nodes),
        (4, 1, 1)
    );
    let counts = step(3, 5);
    assert_eq!((counts.captured, counts.updated), (4, 2));
    assert_eq!((counts.launched, counts.uploads, counts.eager), (8, 8, 0));
}

#[test]
fn steps_that_cannot_be_recorded_run_without_a_graph() {
    let table = table();
    let read = || are_finite(&[&table]);
    let mut graphs = StepGraphs::new(&gpu(), [&table].into_iter()).unwrap();
    assert!(graphs.run(read).unwrap());
    assert!(graphs.take_failure().unwrap().contains("copy to the host"));
    assert_eq!(graphs.take_failure(), None);
    assert_eq!((graphs.counts().launched, graphs.counts().eager), (0, 1));

    // A table that is no parameter may be another library's work, which is not recorded.
    let mut graphs = StepGraphs::new(&gpu(), std::iter::empty()).unwrap();
    let rows = graphs.run(|| gather(&table, &[4, 2], (2, WIDTH))).unwrap();
    assert_eq!(flat(&rows), expected(&table, &[4, 2]));
    assert!(graphs.take_failure().unwrap().contains("not recorded"));
}

#[test]
fn failed_steps_leave_the_thread_as_it_was() {
    let table = table();
    let mut graphs = StepGraphs::new(&gpu(), [&table].into_iter()).unwrap();
    let failed: Result<Tensor> = graphs.run(|| gather(&table, &[40], (1, WIDTH)));
    assert!(failed.unwrap_err().to_string().contains("out of range"));
    let rows = graphs.run(|| gather(&table, &[1], (1, WIDTH))).unwrap();
    assert_eq!(flat(&rows), expected(&table, &[1]));
    assert_eq!(graphs.counts().launched, 1);

    let panicked = catch_unwind(AssertUnwindSafe(|| {
        _ = graphs.run::<Tensor, candle_core::Error>(|| panic!("in a step"));
    }));
    assert!(panicked.is_err());
    // Operations of this thread are executed again, and the graphs are not used any more.
    let rows = gather(&table, &[7], (1, WIDTH)).unwrap();
    assert_eq!(flat(&rows), expected(&table, &[7]));
    let rows = graphs.run(|| gather(&table, &[9], (1, WIDTH))).unwrap();
    assert_eq!(flat(&rows), expected(&table, &[9]));
    assert_eq!((graphs.counts().launched, graphs.counts().eager), (1, 1));
}
