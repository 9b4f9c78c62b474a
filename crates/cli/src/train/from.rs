//! `prl train --from`: the flags of a training that starts from a finished run.

use std::path::{Path, PathBuf};

use prl_runs::{Config, Error, NewItems, OptimizerStart, ParentRun, Run};

use crate::flags::named;

/// Flags of a training that starts from a finished run.
#[derive(clap::Args)]
pub struct From {
    /// Start from the best weights of this finished run, by item id, on the new dataset of --data:
    /// vanished items are dropped, new ones added. Its settings are the defaults, but for the
    /// length: a fifth of the steps of a run that was trained from nothing (at least 20), at a
    /// constant learning rate, and as many steps as a run that was continued itself
    #[arg(long, value_name = "RUN")]
    from: Option<PathBuf>,
    /// Adam's moments at the start: fresh (zero), or carry (those of the run's last step)
    /// [default: fresh]
    #[arg(long, requires = "from", value_parser = named(&OptimizerStart::ALL, OptimizerStart::name))]
    optimizer: Option<OptimizerStart>,
    /// Initial vectors of new items: random, mean (near that of all items), or co-occurrence (near
    /// the mean of the known items beside them in the new training sessions) [default:
    /// co-occurrence]
    #[arg(long, requires = "from", value_parser = named(&NewItems::ALL, NewItems::name))]
    new_items: Option<NewItems>,
    /// Share of each batch that is of events after those that the run was trained on [default:
    /// 0.25]
    #[arg(long, requires = "from", value_name = "SHARE")]
    recent_share: Option<f64>,
}

impl From {
    /// The settings under the flags of a training that starts from a run: that run's, or those of
    /// the `resumed` run in `out`. `None` for a training from nothing.
    pub fn base(&self, out: &Path, resumed: Option<&Config>) -> anyhow::Result<Option<Config>> {
        let Some(from) = &self.from else {
            if let Some(parent) = resumed.and_then(|config| config.parent.as_ref()) {
                let started = parent.run.display();
                let what = format!("was started from {started}; resume it with --from {started}");
                return Err(Error::run(out, what).into());
            }
            return Ok(None);
        };
        let from = std::path::absolute(from)?;
        let mut config = match resumed {
            // The parent may have been replaced meanwhile.
            Some(config) => config.clone(),
            None => {
                let run = Run::open(&from)?;
                let Some(manifest) = run.manifest()? else {
                    let what = "is not finished; go on with --resume there first";
                    return Err(Error::run(&from, what).into());
                };
                let parent = ParentRun {
                    run: from.clone(),
                    model: run.model_name()?,
                    ..ParentRun::default()
                };
                run.config().grown(parent, manifest.steps)
            }
        };
        let Some(parent) = &mut config.parent else {
            return Err(Error::run(
                out,
                "was started from nothing; resume it without --from, or name another --out",
            )
            .into());
        };
        if parent.run != from {
            let started = parent.run.display();
            let what = format!("was started from {started}; resume it with that --from");
            return Err(Error::run(out, what).into());
        }
        parent.optimizer = self.optimizer.unwrap_or(parent.optimizer);
        parent.new_items = self.new_items.unwrap_or(parent.new_items);
        parent.recent_share = self.recent_share.unwrap_or(parent.recent_share);
        Ok(Some(config))
    }
}
