//! Reports of the experiments: Markdown and CSV tables, SVG figures, and one self-contained HTML
//! page.
//!
//! [`pages`] writes all files from the outcomes of the runs; the `prl-reproduce` program makes the
//! runs and calls it. The files depend on the run directories alone: writing them twice gives the
//! same bytes.

pub mod csv;
pub mod figures;
pub mod forest_plot;
pub mod html_page;
pub mod html_table;
pub mod markdown;
pub mod markdown_table;
pub mod pages;
pub mod provenance;
pub mod status;
pub mod table1;

pub use markdown_table::markdown_table;
use prl_charts::{html, line_chart, svg};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
