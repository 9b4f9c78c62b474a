//! Parts of self-contained HTML pages: a style sheet, fragments and tables, and SVG charts that
//! take the page's colours in light and dark mode.
//!
//! ```
//! use plotters::style::RGBColor;
//! use prl_charts::line_chart::{self, Chart, Line};
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

pub mod html;
pub mod line_chart;
pub mod svg;

/// Style sheet of a page, for light and dark mode.
pub const STYLE: &str = include_str!("page.css");

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
