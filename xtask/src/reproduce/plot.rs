//! Line charts with bands as SVG, drawn by plotters.
//!
//! plotters knows nothing of dark pages: what is ink is drawn in a colour that nothing else has, and then named
//! `currentColor`, so that an SVG in a page takes the page's. It draws on whole pixels too, so a chart is drawn at twice its
//! size and shown at half of it.

use std::fmt::Write as _;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Width and height of a chart, as drawn.
const SIZE: (u32, u32) = (1120, 720);
/// How much larger than shown.
const SCALE: u32 = 2;
/// What stands for ink.
const INK: RGBColor = RGBColor(1, 2, 3);
/// INK, as plotters writes it.
const INK_NAME: &str = "#010203";
/// Sizes of letters, as drawn.
const TITLE: u32 = 36;
const LABEL: u32 = 29;
/// Width of a letter, about, in its size: to set a legend without a font at hand.
const LETTER: f64 = 0.47;
/// Height of the title, and of each row of the legend.
const TITLE_ROW: i32 = 56;
const LEGEND_ROW: i32 = 44;
/// At most so many points of a line are marked.
const MARKED: usize = 12;

/// A chart.
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The axis below.
    pub x: String,
    /// The axis at the side.
    pub y: String,
    /// The lines.
    pub lines: Vec<Line>,
}

/// A line and its band.
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its colour, legible on white and on black.
    pub colour: (u8, u8, u8),
    /// Its points from left to right: x, y, and the ends of the band there.
    pub points: Vec<[f64; 4]>,
}

/// Charts side by side as one SVG that stands alone, on white or, for a reader in the dark, on black.
pub fn alone(charts: &[Chart]) -> Result<String> {
    let svg = draw(charts)?;
    let style = "<style>svg{color:#1b1f24;background:#fff}\
                 @media(prefers-color-scheme:dark){svg{color:#d7dce2;background:#14171b}}</style>";
    let end = svg.find('>').map_or(0, |at| at + 1);
    Ok(format!("{}{style}{}", &svg[..end], &svg[end..]))
}

fn draw(charts: &[Chart]) -> Result<String> {
    let size = (SIZE.0 * charts.len().max(1) as u32, SIZE.1);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        for (chart, area) in charts.iter().zip(root.split_evenly((1, charts.len().max(1)))) {
            // plotters' errors borrow the backend.
            chart.draw(&area).map_err(|error| anyhow!("failed to draw {}: {error}", chart.title))?;
        }
        root.present()?;
    }
    let (width, height) = (size.0 / SCALE, size.1 / SCALE);
    let names: Vec<&str> = charts.iter().map(|chart| chart.title.as_str()).collect();
    let drawn = format!("<svg width=\"{}\" height=\"{}\"", size.0, size.1);
    let shown = format!("<svg role=\"img\" aria-label=\"{}\" width=\"{width}\" height=\"{height}\"", names.join("; "));
    let family = "font-family=\"system-ui, sans-serif\"";
    Ok(svg.replacen(&drawn, &shown, 1).replace(INK_NAME, "currentColor").replace("font-family=\"sans-serif\"", family))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = std::result::Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

impl Chart {
    fn draw<'a>(&self, area: &Area<'a>) -> Drawn<'a> {
        let legend = self.legend();
        let rows = 1 + legend.iter().map(|(row, _, _)| *row).max().unwrap_or(0);
        let (head, body) = area.split_vertically(TITLE_ROW + LEGEND_ROW * rows);
        let text = |size: u32| TextStyle::from(("sans-serif", size).into_font()).color(&INK);
        head.draw_text(
            &self.title,
            &TextStyle::from(("sans-serif", TITLE).into_font().style(FontStyle::Bold)).color(&INK),
            (24, 18),
        )?;
        for (line, (row, at, _)) in self.lines.iter().zip(&legend) {
            let y = TITLE_ROW + LEGEND_ROW * row + LEGEND_ROW / 2;
            let colour = line.colour();
            head.draw(&PathElement::new(vec![(*at, y), (at + 36, y)], colour.stroke_width(6)))?;
            head.draw_text(&line.name, &text(LABEL).pos(Pos::new(HPos::Left, VPos::Center)), (at + 46, y))?;
        }
        let (x, y) = (self.range(|p| [p[0], p[0]], 0.02), self.range(|p| [p[2], p[3]], 0.06));
        let mut chart = ChartBuilder::on(&body)
            .margin_top(14)
            .margin_right(36)
            .x_label_area_size(92)
            .y_label_area_size(140)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        let digits = digits(y.1 - y.0);
        chart
            .configure_mesh()
            .x_labels(7)
            .y_labels(6)
            .max_light_lines(0)
            .bold_line_style(INK.mix(0.13).stroke_width(2))
            .axis_style(INK.mix(0.4).stroke_width(2))
            .label_style(text(LABEL).color(&INK.mix(0.75)))
            .axis_desc_style(text(LABEL))
            .x_desc(&self.x)
            .y_desc(&self.y)
            .x_label_formatter(&|x| plain(*x))
            .y_label_formatter(&|y| format!("{y:.digits$}"))
            .draw()?;
        for line in &self.lines {
            let colour = line.colour();
            if line.points.iter().any(|p| p[3] > p[2]) {
                let above = line.points.iter().map(|p| (p[0], p[3]));
                let below = line.points.iter().rev().map(|p| (p[0], p[2]));
                chart.draw_series([Polygon::new(above.chain(below).collect::<Vec<_>>(), colour.mix(0.2).filled())])?;
            }
            chart.draw_series(LineSeries::new(line.points.iter().map(|p| (p[0], p[1])), colour.stroke_width(5)))?;
            if line.points.len() <= MARKED {
                chart.draw_series(line.points.iter().map(|p| Circle::new((p[0], p[1]), 8, colour.filled())))?;
            }
        }
        Ok(())
    }

    /// The row, the start and the end of each line's name.
    fn legend(&self) -> Vec<(i32, i32, i32)> {
        let (mut row, mut at) = (0, 24);
        let place = |line: &Line| {
            let width = 46 + (line.name.chars().count() as f64 * f64::from(LABEL) * LETTER) as i32;
            if at > 24 && at + width > SIZE.0 as i32 - 24 {
                (row, at) = (row + 1, 24);
            }
            let start = at;
            at += width + 36;
            (row, start, start + width)
        };
        self.lines.iter().map(place).collect()
    }

    /// The range of some numbers of all points, with a margin as a share of it.
    fn range(&self, of: impl Fn(&[f64; 4]) -> [f64; 2], margin: f64) -> (f64, f64) {
        let all = self.lines.iter().flat_map(|line| &line.points).flat_map(of);
        let (lo, hi) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), x| (lo.min(x), hi.max(x)));
        if !lo.is_finite() || !hi.is_finite() {
            return (0.0, 1.0);
        }
        // A single value still has a range round it.
        let width = if hi > lo { hi - lo } else { lo.abs().max(1.0) };
        (lo - width * margin, hi + width * margin)
    }
}

impl Line {
    fn colour(&self) -> RGBColor {
        let (r, g, b) = self.colour;
        RGBColor(r, g, b)
    }
}

/// Decimals that tell a sixth of a range apart.
fn digits(range: f64) -> usize {
    (1.0 - (range / 6.0).log10().floor()).clamp(0.0, 5.0) as usize
}

/// A number without needless zeros: `0.25`, `2`, `1500`.
fn plain(x: f64) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail. Rounded, so that 0.1 + 0.2 reads 0.3.
    let _ = write!(text, "{}", (x * 1e6).round() / 1e6);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(lines: usize) -> Chart {
        let line = |i: usize| Line {
            name: format!("method <{i}>"),
            colour: (200, 10 * i as u8, 30),
            points: vec![[0.0, 0.1, 0.05, 0.2], [100.0, 0.2, 0.2, 0.3]],
        };
        Chart { title: "A & B".into(), x: "steps".into(), y: "HR@5".into(), lines: (0..lines).map(line).collect() }
    }

    #[test]
    fn a_chart_shows_its_lines_bands_and_names() {
        let svg = draw(&[chart(2)]).unwrap();
        assert!(
            svg.contains("<polygon") && svg.contains("method &lt;1&gt;") && svg.contains("stroke=\"#C80A1E\""),
            "{svg}"
        );
        assert!(svg.contains("currentColor") && !svg.contains(INK_NAME), "ink is the page's");
        assert!(svg.starts_with("<svg role=\"img\"") && svg.contains("viewBox=\"0 0 1120 720\""), "{svg}");
        assert!(!svg.contains("<style>") && alone(&[chart(1), chart(1)]).unwrap().contains("viewBox=\"0 0 2240 720\""));
    }

    #[test]
    fn a_long_legend_takes_another_row() {
        let legend = chart(12).legend();
        assert!(legend.iter().all(|(_, _, end)| *end <= SIZE.0 as i32), "{legend:?}");
        assert_eq!((legend[0].0, legend[11].0 > 0), (0, true));
    }

    #[test]
    fn one_value_or_none_still_makes_a_chart() {
        let mut flat = chart(1);
        flat.lines[0].points = vec![[5.0, 0.0, 0.0, 0.0]];
        assert_eq!(flat.range(|p| [p[0], p[0]], 0.1), (4.5, 5.5));
        assert!(draw(&[flat]).is_ok() && draw(&[chart(0)]).is_ok());
    }

    #[test]
    fn numbers_on_an_axis_are_plain() {
        assert_eq!([plain(0.1 + 0.2), plain(2.0), plain(-0.25)], ["0.3", "2", "-0.25"]);
        assert_eq!([digits(0.3), digits(600.0), digits(0.006)], [3, 0, 4]);
    }
}
