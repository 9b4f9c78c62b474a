//! `prl train --from`: the flags of a training that starts from a finished run.

use std::path::{Path, PathBuf};

use prl_runs::{Config, Error, NewItems, OptimizerStart, ParentRun, Run};

use crate::flags::named;

/// Flags of a training that starts from a finished run.
#[derive(clap::Args)]
pub struct From {
    /// Start from the best weights of this finished run, by item id, on the new dataset of --data:
    /// vanished items are dropped, new ones added. Its settings are the defaults, but for the
    /// length: a fifth of the passes of a run that was trained from nothing (at least 20 steps), at
    /// a constant learning rate, and as many passes as a run that was continued itself
    #[arg(long, value_name = "RUN")]
    from: Option<PathBuf>,
    /// Adam's moments at the start: fresh (zero), or carry (those of the run's last step)
    /// [default: fresh]
    #[arg(long, requires = "from", value_parser = named(&OptimizerStart::ALL, OptimizerStart::name))]
    optimizer: Option<OptimizerStart>,
    /// Initial vectors of new items: random, mean (near that of all items), or co-occurrence
    /// (near the mean of the known items beside them in the new sessions) [default: random]
    #[arg(long, requires = "from", value_parser = named(&NewItems::ALL, NewItems::name))]
    new_items: Option<NewItems>,
}

impl From {
    /// The settings under the flags of a training that starts from a run: that run's, or those of
    /// the `resumed` run in `out`. `None` for a training from nothing. With `is_length_given`,
    /// other flags set the length.
    pub fn base(
        &self,
        out: &Path,
        resumed: Option<&Config>,
        is_length_given: bool,
    ) -> anyhow::Result<Option<Config>> {
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
                if run.manifest()?.is_none() {
                    let what = "is not finished; go on with --resume there first";
                    return Err(Error::run(&from, what).into());
                }
                let parent = ParentRun {
                    run: from.clone(),
                    model: run.model_name()?,
                    ..ParentRun::default()
                };
                run.config().grown(parent, run.passes()?)
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
        if is_length_given {
            parent.passes = None;
        }
        Ok(Some(config))
    }
}
