//! Runs for other programs, and weights of other programs as runs.
//!
//! [`export()`] writes a run as a directory with an ONNX file, a safetensors file with candle's
//! names, or both with a model card. [`import()`] makes a run of a safetensors file, which `prl
//! evaluate`, `recommend` and `serve` read like any other.
//!
//! ```no_run
//! use prl_export::{ExportOptions, Format, Metrics, export};
//! use prl_runs::Run;
//!
//! # fn main() -> prl_export::Result<()> {
//! let run = Run::open("runs/prl".as_ref())?;
//! let options = ExportOptions {
//!     format: Format::Onnx,
//!     metrics: Metrics::Recorded,
//! };
//! export(&run, "exported".as_ref(), &options)?;
//! # Ok(())
//! # }
//! ```

mod card;
mod error;
mod export;
mod import;
mod names;
pub mod onnx;
mod preprocessing;
mod weights;

pub use error::{Error, Result};
pub use export::{ExportOptions, Format, Metrics, export};
pub use import::{ImportOptions, Settings, import};
