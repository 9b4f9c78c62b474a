//! A sheet to draw on: an SVG by plotters that looks right on a page, light or dark.
//!
//! plotters knows nothing of dark pages: what is ink is drawn in a colour that nothing else has, and then named
//! `currentColor`, so that an SVG in a page takes the page's. It draws on whole pixels too, so a sheet is drawn at twice its
//! size and shown at half of it.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::html::escape;

/// What stands for ink.
pub const INK: RGBColor = RGBColor(1, 2, 3);
/// INK, as plotters writes it.
const INK_NAME: &str = "#010203";
/// How much larger it is drawn than shown.
const SCALE: u32 = 2;
/// Sizes of letters, as drawn.
const TITLE: u32 = 36;
const LABEL: u32 = 29;
/// The width of a letter, about: to set text without a font at hand.
const LETTER: f64 = 0.47 * LABEL as f64;
/// The room of a title, and of a row of a legend.
const TITLE_ROW: i32 = 56;
const LEGEND_ROW: i32 = 44;
/// The margin at both sides.
const MARGIN: i32 = 24;

/// A part of a sheet.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// Whether a drawing came out.
pub type Drawn<'a> =
    std::result::Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// A sheet of this size, as drawn: `name` is read out for it, `paint` draws.
pub fn sheet(
    size: (u32, u32),
    name: &str,
    paint: impl for<'a> FnOnce(&Area<'a>) -> Drawn<'a>,
) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        // plotters' errors borrow the backend.
        paint(&root)
            .and_then(|()| root.present())
            .map_err(|error| anyhow!("failed to draw {name}: {error}"))?;
    }
    let (width, height) = (size.0 / SCALE, size.1 / SCALE);
    let drawn = format!("<svg width=\"{}\" height=\"{}\"", size.0, size.1);
    let shown = format!(
        "<svg role=\"img\" aria-label=\"{}\" width=\"{width}\" height=\"{height}\"",
        escape(name)
    );
    let family = "font-family=\"system-ui, sans-serif\"";
    Ok(svg
        .replacen(&drawn, &shown, 1)
        .replace(INK_NAME, "currentColor")
        .replace("font-family=\"sans-serif\"", family))
}

/// The same as an SVG that stands alone: on white or, for a reader in the dark, on black.
pub fn standalone(svg: &str) -> String {
    let style = "<style>svg{color:#1b1f24;background:#fff}\
                 @media(prefers-color-scheme:dark){svg{color:#d7dce2;background:#14171b}}</style>";
    let end = svg.find('>').map_or(0, |at| at + 1);
    format!("{}{style}{}", &svg[..end], &svg[end..])
}

/// Text of labels, its middle at the height where it is put.
pub fn label(at: HPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", LABEL).into_font())
        .color(&INK)
        .pos(Pos::new(at, VPos::Center))
}

/// The same in bold.
pub fn bold(at: HPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", LABEL).into_font().style(FontStyle::Bold))
        .color(&INK)
        .pos(Pos::new(at, VPos::Center))
}

/// Draws a title, and a legend of names with their colours, at the top; returns what is left below.
pub fn headed<'a>(
    area: &Area<'a>,
    title: &str,
    legend: &[(&str, RGBColor)],
) -> std::result::Result<Area<'a>, DrawingAreaErrorKind<std::io::Error>> {
    let places = places(
        legend.iter().map(|(name, _)| name.chars().count()),
        area.dim_in_pixel().0 as i32,
    );
    let rows = places.last().map_or(0, |(row, _)| row + 1);
    let (head, body) = area.split_vertically(TITLE_ROW + LEGEND_ROW * rows);
    let style =
        TextStyle::from(("sans-serif", TITLE).into_font().style(FontStyle::Bold)).color(&INK);
    head.draw_text(title, &style, (MARGIN, 18))?;
    for ((name, colour), (row, at)) in legend.iter().zip(places) {
        let y = TITLE_ROW + LEGEND_ROW * row + LEGEND_ROW / 2;
        head.draw(&PathElement::new(
            vec![(at, y), (at + 36, y)],
            colour.stroke_width(6),
        ))?;
        head.draw_text(name, &label(HPos::Left), (at + 46, y))?;
    }
    Ok(body)
}

/// The row and the start of each name of a legend, by their lengths.
fn places(lengths: impl Iterator<Item = usize>, width: i32) -> Vec<(i32, i32)> {
    let (mut row, mut at) = (0, MARGIN);
    let place = |length: usize| {
        let wide = 46 + (length as f64 * LETTER) as i32;
        if at > MARGIN && at + wide > width - MARGIN {
            (row, at) = (row + 1, MARGIN);
        }
        let start = at;
        at += wide + 36;
        (row, start)
    };
    lengths.map(place).collect()
}

/// The range of some numbers, with a margin as a share of it at both ends.
pub fn range(all: impl Iterator<Item = f64>, margin: f64) -> (f64, f64) {
    let (lo, hi) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), x| {
        (lo.min(x), hi.max(x))
    });
    if !lo.is_finite() || !hi.is_finite() {
        return (0.0, 1.0);
    }
    // A single value still has a range round it.
    let width = if hi > lo { hi - lo } else { lo.abs().max(1.0) };
    (lo - width * margin, hi + width * margin)
}

/// Decimals that tell the labels of an axis over such a range apart.
pub fn digits(range: f64) -> usize {
    -(range / 5.0).log10().floor().clamp(-5.0, 0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ink_is_the_pages() {
        let svg = sheet((200, 100), "A & <B>", |area| {
            headed(area, "<T>", &[("n", RED)]).map(drop)
        })
        .unwrap();
        assert!(
            svg.contains("currentColor") && !svg.contains(INK_NAME),
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
    fn a_long_legend_takes_another_row() {
        let places = places([10, 10, 10].into_iter(), 480);
        assert_eq!(
            places.iter().map(|(row, _)| *row).collect::<Vec<_>>(),
            [0, 0, 1]
        );
        assert_eq!((places[0].1, places[2].1), (MARGIN, MARGIN));
    }

    #[test]
    fn one_value_or_none_still_has_a_range() {
        assert_eq!(range([5.0].into_iter(), 0.1), (4.5, 5.5));
        assert_eq!(range([0.0].into_iter(), 0.1), (-0.1, 0.1));
        assert_eq!(range(std::iter::empty(), 0.1), (0.0, 1.0));
        assert_eq!(range([1.0, 3.0].into_iter(), 0.5), (0.0, 4.0));
    }

    #[test]
    fn labels_have_the_digits_they_need() {
        assert_eq!([0.3, 600.0, 0.006, 0.08, 10.0].map(digits), [2, 0, 3, 2, 0]);
    }
}
