//! Search spaces.

use prl_tune::tpe::{START_UP, Sample, propose};
use prl_tune::{Assignment, Space};

/// A search space. Every proposal of an accepted one must lie in it.
pub fn space(input: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(input).map_err(|error| error.to_string())?;
    let space = Space::parse("space.toml", text).map_err(|error| error.to_string())?;
    // The work grows with the square of the settings.
    if space.variables().len() > 50 {
        return Ok(());
    }
    let mut seen: Vec<Assignment> = Vec::new();
    for number in 0..START_UP as u64 + 3 {
        let mut samples = Vec::new();
        for (i, settings) in seen.iter().enumerate() {
            samples.push(Sample {
                settings,
                value: Some(i as f64),
            });
        }
        let settings = propose(&space, &samples, 0, (number, 0));
        for variable in space.variables() {
            if let Some(value) = settings.get(&variable.name) {
                assert!(variable.domain.coordinate(value).is_some(), "{value}");
            }
        }
        seen.push(settings);
    }
    Ok(())
}
