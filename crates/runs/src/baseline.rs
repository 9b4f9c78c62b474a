//! Baselines in a run directory: their arrays are stored in the file of the weights.

use std::collections::{HashMap, HashSet};

use candle_core::{Device, Tensor, WithDType};
use prl_baselines::{
    Baseline, KnnArrays, KnnOptions, LastItems, LastItemsKnn, Popularity, PopularityRecent,
    SequenceArrays, SequenceKnn, SessionKnn, training_sessions,
};
use prl_dataset::{Dataset, Split};

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::method::Method;

/// Fits the baseline of a run to the training sessions that it does not hold out; returns its
/// arrays by name.
pub fn fit_baseline(config: &Config, data: &Dataset) -> Result<HashMap<String, Tensor>> {
    let mut sessions = training_sessions(data);
    if config.hold_out.is_some() {
        let mut held = HashSet::new();
        for (first, _) in config.examples(data, Split::Val).targets() {
            held.insert(first);
        }
        sessions.retain(|session| !held.contains(&session.start));
    }
    let popularity = Popularity::fit_to(data, &sessions);
    let mut arrays = HashMap::from([("popularity".to_owned(), array(popularity.counts())?)]);
    match config.method {
        Method::SessionKnn => {
            let knn = SessionKnn::fit_to(data, &sessions, KnnOptions::default());
            insert_sessions(&mut arrays, knn.arrays())?;
        }
        Method::SessionKnnTuned | Method::LastItemsKnn => {
            let knn = SequenceKnn::fit_to(data, &sessions);
            insert_sessions(&mut arrays, &knn.arrays().sessions)?;
            let leaves_own_out = u8::from(knn.arrays().leaves_own_out);
            arrays.insert(LEAVES_OWN_OUT.to_owned(), array(&[leaves_own_out])?);
        }
        Method::PopularityRecent => {
            let recent = PopularityRecent::fit_to(data, &sessions);
            arrays.insert(RECENT.to_owned(), array(recent.saved_scores())?);
            arrays.insert(HALF_LIFE.to_owned(), array(&[recent.half_life()])?);
        }
        _ => {}
    }
    Ok(arrays)
}

/// Names of the arrays of [`PopularityRecent`].
const RECENT: &str = "recent";
const HALF_LIFE: &str = "half_life_ms";
/// Name of the flag of [`SequenceArrays`].
const LEAVES_OWN_OUT: &str = "leaves_own_out";

fn insert_sessions(arrays: &mut HashMap<String, Tensor>, sessions: &KnnArrays) -> Result<()> {
    // candle has no unsigned 64-bit integers.
    let offsets: Vec<i64> = sessions.offsets.iter().map(|&n| n as i64).collect();
    arrays.insert("offsets".to_owned(), array(&offsets)?);
    arrays.insert("items".to_owned(), array(&sessions.items)?);
    Ok(())
}

fn array<T: WithDType>(values: &[T]) -> Result<Tensor> {
    Ok(Tensor::from_slice(values, values.len(), &Device::Cpu)?)
}

/// Loads the baseline stored in a checkpoint.
pub(crate) fn load_baseline(method: Method, saved: &Checkpoint) -> Result<Box<dyn Baseline>> {
    let arrays = saved.load_arrays()?;
    let get = |name: &str| {
        let what = format!("the array {name} of a baseline is missing; train the run again");
        arrays.get(name).ok_or(Error::run(saved.dir(), what))
    };
    let popularity = get("popularity")?.to_vec1::<u32>()?;
    let uses_sessions = [
        Method::SessionKnn,
        Method::SessionKnnTuned,
        Method::LastItemsKnn,
    ];
    if uses_sessions.contains(&method) {
        let mut offsets = Vec::new();
        for n in get("offsets")?.to_vec1::<i64>()? {
            offsets.push(n as u64);
        }
        let sessions = KnnArrays {
            offsets,
            items: get("items")?.to_vec1()?,
            popularity,
        };
        let refused = |e: prl_baselines::KnnError| Error::run(saved.dir(), e.to_string());
        if method != Method::SessionKnn {
            let flag = get(LEAVES_OWN_OUT)?.to_vec1::<u8>()?;
            let arrays = SequenceArrays {
                sessions,
                leaves_own_out: flag != [0],
            };
            let knn = SequenceKnn::from_arrays(arrays).map_err(refused)?;
            return Ok(match method {
                Method::LastItemsKnn => Box::new(LastItemsKnn::new(knn)),
                _ => Box::new(knn),
            });
        }
        let knn = SessionKnn::from_arrays(sessions, KnnOptions::default());
        return Ok(Box::new(knn.map_err(refused)?));
    }
    if method == Method::PopularityRecent {
        let (scores, half_life) = (get(RECENT)?.to_vec1()?, get(HALF_LIFE)?.to_vec1()?);
        if scores.len() != popularity.len() || half_life.len() != 1 {
            let what = format!("the array {RECENT} has the wrong length; train the run again");
            return Err(Error::run(saved.dir(), what));
        }
        let recent = PopularityRecent::from_scores(scores, half_life[0]);
        return Ok(Box::new(recent));
    }
    let popularity = Popularity::from_counts(popularity);
    Ok(match method {
        Method::LastItems => Box::new(LastItems::new(popularity)),
        _ => Box::new(popularity),
    })
}
