//! Reports of the experiments.

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

pub use markdown_table::markdown_table;
