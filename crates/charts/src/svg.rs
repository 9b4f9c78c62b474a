//! SVG drawings by plotters that fit into light and dark pages.
//!
//! plotters has no notion of the page's text colour. Text and axes are drawn in a colour that
//! nothing else uses, which is then replaced by `currentColor`, so that an inlined SVG takes the
//! page's colour. plotters also rounds to whole pixels, so a drawing is made at twice the size at
//! which it is displayed.

use anyhow::{Result, anyhow};
use maud::html;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Placeholder for the page's text colour.
pub const INK: RGBColor = RGBColor(1, 2, 3);
/// [`INK`] as plotters writes it.
const INK_HEX: &str = "#010203";
/// Ratio of drawn to displayed size.
const SCALE: u32 = 2;
/// Drawn font sizes.
const TITLE: u32 = 36;
const LABEL: u32 = 29;
/// Approximate drawn width of a letter of a label; no font is available to measure it.
const LETTER: f64 = 0.47 * LABEL as f64;
/// Drawn heights of the title and of a row of the legend.
const TITLE_ROW: i32 = 56;
const LEGEND_ROW: i32 = 44;
/// Drawn margin on both sides.
const MARGIN: i32 = 24;

/// Part of a drawing.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// Error of plotters.
pub type DrawError = DrawingAreaErrorKind<std::io::Error>;
/// Coordinate system with linear axes.
pub type Plot<'a, 'b> =
    ChartContext<'b, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws an SVG of a size given as (width, height) in drawn pixels. `name` is its label for screen
/// readers.
///
/// # Errors
/// If plotters fails.
pub fn render(
    size: (u32, u32),
    name: &str,
    draw: impl for<'a> FnOnce(&Area<'a>) -> Result<(), DrawError>,
) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        // plotters' errors borrow the backend, so they cannot be returned as sources.
        draw(&root)
            .and_then(|()| root.present())
            .map_err(|error| anyhow!("failed to draw {name}: {error}"))?;
    }
    let drawn = format!("<svg width=\"{}\" height=\"{}\"", size.0, size.1);
    let displayed = format!(
        "<svg role=\"img\" aria-label=\"{}\" width=\"{}\" height=\"{}\"",
        html! { (name) }.into_string(),
        size.0 / SCALE,
        size.1 / SCALE
    );
    let family = "font-family=\"system-ui, sans-serif\"";
    Ok(svg
        .replacen(&drawn, &displayed, 1)
        .replace(INK_HEX, "currentColor")
        .replace("font-family=\"sans-serif\"", family))
}

/// Makes an SVG a file of its own: with a white background, or a black one in dark mode.
pub fn standalone(svg: &str) -> String {
    let style = "<style>svg{color:#1b1f24;background:#fff}\
                 @media(prefers-color-scheme:dark){svg{color:#d7dce2;background:#14171b}}</style>";
    let end = svg.find('>').map_or(0, |at| at + 1);
    format!("{}{style}{}", &svg[..end], &svg[end..])
}

/// Style of a label, vertically centred on its position.
pub fn label(at: HPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", LABEL).into_font())
        .color(&INK)
        .pos(Pos::new(at, VPos::Center))
}

/// Style of a label in bold.
pub fn bold(at: HPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", LABEL).into_font().style(FontStyle::Bold))
        .color(&INK)
        .pos(Pos::new(at, VPos::Center))
}

/// Draws a title and a legend of (name, colour) at the top; returns the area below.
///
/// # Errors
/// If plotters fails.
pub fn draw_header<'a>(
    area: &Area<'a>,
    title: &str,
    legend: &[(&str, RGBColor)],
) -> Result<Area<'a>, DrawError> {
    let lengths: Vec<usize> = legend
        .iter()
        .map(|(name, _)| name.chars().count())
        .collect();
    let positions = legend_positions(&lengths, area.dim_in_pixel().0 as i32);
    let rows = positions.last().map_or(0, |(row, _)| row + 1);
    let (head, body) = area.split_vertically(TITLE_ROW + LEGEND_ROW * rows);
    let font = ("sans-serif", TITLE).into_font().style(FontStyle::Bold);
    head.draw_text(title, &TextStyle::from(font).color(&INK), (MARGIN, 18))?;
    for ((name, colour), (row, x)) in legend.iter().zip(positions) {
        let y = TITLE_ROW + LEGEND_ROW * row + LEGEND_ROW / 2;
        head.draw(&PathElement::new(
            vec![(x, y), (x + 36, y)],
            colour.stroke_width(6),
        ))?;
        head.draw_text(name, &label(HPos::Left), (x + 46, y))?;
    }
    Ok(body)
}

/// (Row, x) of each entry of a legend of a given width, by the lengths of the names in letters.
fn legend_positions(lengths: &[usize], width: i32) -> Vec<(i32, i32)> {
    let mut positions = Vec::new();
    let (mut row, mut x) = (0, MARGIN);
    for &length in lengths {
        let entry = 46 + (length as f64 * LETTER) as i32;
        if x > MARGIN && x + entry > width - MARGIN {
            (row, x) = (row + 1, MARGIN);
        }
        positions.push((row, x));
        x += entry + 36;
    }
    positions
}

/// Formatter of the tick labels of an axis.
pub type TickLabel<'t> = &'t dyn Fn(&f64) -> String;

/// Titles and tick labels of the axes.
pub struct Axes<'t> {
    /// Title of the horizontal axis.
    pub x_title: &'t str,
    /// Tick label of a horizontal coordinate.
    pub x_label: TickLabel<'t>,
    /// Title and tick label of the vertical axis; `None` draws no ticks and grid lines for it.
    pub y: Option<(&'t str, TickLabel<'t>)>,
}

/// Draws axes and grid lines.
///
/// # Errors
/// If plotters fails.
pub fn draw_axes(plot: &mut Plot<'_, '_>, axes: &Axes<'_>) -> Result<(), DrawError> {
    let text = label(HPos::Center).pos(Pos::new(HPos::Left, VPos::Top));
    let faded = INK.mix(0.75);
    let mut mesh = plot.configure_mesh();
    mesh.x_labels(7)
        .max_light_lines(0)
        .bold_line_style(INK.mix(0.13).stroke_width(2))
        .axis_style(INK.mix(0.4).stroke_width(2))
        .label_style(text.color(&faded))
        .axis_desc_style(text.clone())
        .x_desc(axes.x_title)
        .x_label_formatter(axes.x_label);
    match axes.y {
        Some((title, y_label)) => {
            mesh.y_labels(6).y_desc(title).y_label_formatter(y_label);
        }
        None => {
            mesh.disable_y_mesh().y_labels(0);
        }
    }
    mesh.draw()
}

/// Range of some numbers, extended on both sides by a share of its width.
pub fn range(numbers: impl IntoIterator<Item = f64>, margin: f64) -> (f64, f64) {
    let (mut lo, mut hi) = (f64::INFINITY, f64::NEG_INFINITY);
    for x in numbers {
        lo = lo.min(x);
        hi = hi.max(x);
    }
    if !lo.is_finite() || !hi.is_finite() {
        return (0.0, 1.0);
    }
    // An axis cannot have the width zero, which a single value would give.
    let width = if hi > lo { hi - lo } else { lo.abs().max(1.0) };
    (lo - width * margin, hi + width * margin)
}

/// Number of decimals that distinguishes the tick labels of an axis with this range.
pub fn digits(range: f64) -> usize {
    -(range / 5.0).log10().floor().clamp(-5.0, 0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendered_svg_uses_page_colour_and_escapes_text() {
        let svg = render((200, 100), "A & <B>", |area| {
            draw_header(area, "<T>", &[("n", RED)]).map(drop)
        })
        .unwrap();
        assert!(
            svg.contains("currentColor") && !svg.contains(INK_HEX),
            "{svg}"
        );
        assert!(
            svg.starts_with(
                "<svg role=\"img\" aria-label=\"A &amp; &lt;B&gt;\" width=\"100\" height=\"50\""
            ),
            "{svg}"
        );
        assert!(
            svg.contains("viewBox=\"0 0 200 100\"") && svg.contains("&lt;T&gt;"),
            "{svg}"
        );
        assert!(!svg.contains("<style>") && standalone(&svg).contains("\"><style>"));
    }

    #[test]
    fn long_legend_takes_another_row() {
        let positions = legend_positions(&[10, 10, 10], 480);
        let rows: Vec<i32> = positions.iter().map(|(row, _)| *row).collect();
        assert_eq!(rows, [0, 0, 1]);
        assert_eq!((positions[0].1, positions[2].1), (MARGIN, MARGIN));
    }

    #[test]
    fn range_of_one_or_no_value_is_not_empty() {
        assert_eq!(range([5.0], 0.1), (4.5, 5.5));
        assert_eq!(range([0.0], 0.1), (-0.1, 0.1));
        assert_eq!(range([], 0.1), (0.0, 1.0));
        assert_eq!(range([1.0, 3.0], 0.5), (0.0, 4.0));
    }

    #[test]
    fn digits_distinguish_labels() {
        assert_eq!([0.3, 600.0, 0.006, 0.08, 10.0].map(digits), [2, 0, 3, 2, 0]);
    }
}
