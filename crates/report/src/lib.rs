//! Reports of the experiments: Markdown and CSV tables, SVG figures, and one self-contained HTML
//! page.
//!
//! [`pages`] writes all files from the outcomes of the runs; the `prl-reproduce` program makes the
//! runs and calls it. The files depend on the run directories alone: writing them twice gives the
//! same bytes.
//!
//! [`line_chart`], [`svg`] and [`markdown_table`](fn@markdown_table) are usable on their own:
//!
//! ```
//! use plotters::style::RGBColor;
//! use prl_report::line_chart::{self, Chart, Line};
//!
//! let chart = Chart {
//!     title: "GRU".into(),
//!     x: "steps".into(),
//!     y: "HR@5".into(),
//!     is_logarithmic: false,
//!     lines: vec![Line {
//!         name: "PRL".into(),
//!         colour: RGBColor(47, 129, 247),
//!         points: vec![[100.0, 0.2, 0.15, 0.25], [200.0, 0.3, 0.28, 0.32]],
//!     }],
//! };
//! let svg = line_chart::svg(&[chart])?;
//! assert!(svg.starts_with("<svg role=\"img\" aria-label=\"GRU\""));
//! # Ok::<(), anyhow::Error>(())
//! ```

pub mod csv;
pub mod figures;
pub mod forest_plot;
pub mod html;
pub mod html_page;
pub mod html_table;
pub mod line_chart;
pub mod markdown;
pub mod markdown_table;
pub mod pages;
pub mod provenance;
pub mod status;
pub mod svg;
pub mod table1;

pub use markdown_table::markdown_table;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
