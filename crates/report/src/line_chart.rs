//! Line charts with bands.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::svg::{Area, Drawn, INK, digits, headed, label, range, sheet};

/// Width and height of a chart, as drawn.
const SIZE: (u32, u32) = (920, 640);
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
    /// Whether both axes are logarithmic; all coordinates are above zero then.
    pub is_logarithmic: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

/// A line and its band.
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its colour, legible on white and on black.
    pub colour: RGBColor,
    /// Its points from left to right: x, y, and the ends of the band there.
    pub points: Vec<[f64; 4]>,
}

/// Charts side by side as one SVG.
pub fn svg(charts: &[Chart]) -> Result<String> {
    let columns = charts.len().max(1);
    let names: Vec<&str> = charts.iter().map(|chart| chart.title.as_str()).collect();
    sheet(
        (SIZE.0 * columns as u32, SIZE.1),
        &names.join("; "),
        |root| {
            charts
                .iter()
                .zip(root.split_evenly((1, columns)))
                .try_for_each(|(chart, area)| chart.draw(&area))
        },
    )
}

impl Chart {
    /// A point as the axes place it.
    fn placed(&self, point: &[f64; 4]) -> [f64; 4] {
        if self.is_logarithmic {
            point.map(f64::log10)
        } else {
            *point
        }
    }

    fn draw<'a>(&self, area: &Area<'a>) -> Drawn<'a> {
        let legend: Vec<(&str, RGBColor)> = self
            .lines
            .iter()
            .map(|line| (line.name.as_str(), line.colour))
            .collect();
        let body = headed(area, &self.title, &legend)?;
        let points = || {
            self.lines
                .iter()
                .flat_map(|line| line.points.iter().map(|p| self.placed(p)))
        };
        let x = range(points().map(|p| p[0]), 0.02);
        let y = range(points().flat_map(|p| [p[2], p[3]]), 0.06);
        let mut chart = ChartBuilder::on(&body)
            .margin_top(14)
            .margin_right(36)
            .x_label_area_size(86)
            .y_label_area_size(136)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        let digits = digits(y.1 - y.0);
        let y_label = |y: f64| {
            if self.is_logarithmic {
                rounded(y)
            } else {
                format!("{y:.digits$}")
            }
        };
        let x_label = |x: f64| {
            if self.is_logarithmic {
                rounded(x)
            } else {
                plain(x)
            }
        };
        let small = label(HPos::Center).pos(Pos::new(HPos::Left, VPos::Top));
        chart
            .configure_mesh()
            .x_labels(7)
            .y_labels(6)
            .max_light_lines(0)
            .bold_line_style(INK.mix(0.13).stroke_width(2))
            .axis_style(INK.mix(0.4).stroke_width(2))
            .label_style(small.color(&INK.mix(0.75)))
            .axis_desc_style(small.clone())
            .x_desc(&self.x)
            .y_desc(&self.y)
            .x_label_formatter(&|x| x_label(*x))
            .y_label_formatter(&|y| y_label(*y))
            .draw()?;
        for line in &self.lines {
            let points: Vec<[f64; 4]> = line.points.iter().map(|p| self.placed(p)).collect();
            if points.iter().any(|p| p[3] > p[2]) {
                let above = points.iter().map(|p| (p[0], p[3]));
                let below = points.iter().rev().map(|p| (p[0], p[2]));
                let band = above.chain(below).collect::<Vec<_>>();
                chart.draw_series([Polygon::new(band, line.colour.mix(0.2).filled())])?;
            }
            chart.draw_series(LineSeries::new(
                points.iter().map(|p| (p[0], p[1])),
                line.colour.stroke_width(5),
            ))?;
            if points.len() <= MARKED {
                chart.draw_series(
                    points
                        .iter()
                        .map(|p| Circle::new((p[0], p[1]), 8, line.colour.filled())),
                )?;
            }
        }
        Ok(())
    }
}

/// The number of which this is the decimal logarithm, to two digits: `32k`, `1M`.
fn rounded(logarithm: f64) -> String {
    let x = 10f64.powf(logarithm);
    let (scaled, unit) = match x {
        999_500.0.. => (x / 1e6, "M"),
        999.5.. => (x / 1e3, "k"),
        _ => (x, ""),
    };
    let digits = (1.0 - scaled.log10().floor()).max(0.0) as usize;
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

/// A number without needless zeros: `0.25`, `2`, `1500`; rounded, so that 0.1 + 0.2 reads 0.3.
fn plain(x: f64) -> String {
    ((x * 1e6).round() / 1e6).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(lines: usize) -> Chart {
        let line = |i: usize| Line {
            name: format!("method <{i}>"),
            colour: RGBColor(200, 10 * i as u8, 30),
            points: vec![[0.0, 0.1, 0.05, 0.2], [100.0, 0.2, 0.2, 0.3]],
        };
        Chart {
            title: "A & B".into(),
            x: "steps".into(),
            y: "HR@5".into(),
            is_logarithmic: false,
            lines: (0..lines).map(line).collect(),
        }
    }

    #[test]
    fn a_chart_shows_its_lines_bands_and_names() {
        let drawn = svg(&[chart(2)]).unwrap();
        assert!(
            drawn.contains("method &lt;1&gt;") && drawn.contains("stroke=\"#C80A1E\""),
            "{drawn}"
        );
        assert_eq!(drawn.matches("<polygon").count(), 2);
        assert!(
            svg(&[chart(1), chart(1)])
                .unwrap()
                .contains("viewBox=\"0 0 1840 640\"")
        );
        assert!(svg(&[chart(0)]).is_ok() && svg(&[]).is_ok());
    }

    #[test]
    fn a_line_without_a_band_has_none() {
        let mut chart = chart(1);
        chart.lines[0].points = vec![[5.0, 0.3, 0.3, 0.3]];
        assert!(!svg(&[chart]).unwrap().contains("<polygon"));
    }

    #[test]
    fn logarithmic_axes_name_the_numbers_themselves() {
        let names =
            [31_622.8f64, 1e6, 999_900.0, 70_852.0, 0.316, 100.0, 20.0].map(|x| rounded(x.log10()));
        assert_eq!(names, ["32k", "1M", "1M", "71k", "0.32", "100", "20"]);
        let chart = Chart {
            is_logarithmic: true,
            ..chart(1)
        };
        let points = chart.lines[0]
            .points
            .iter()
            .map(|p| p.map(|x| x.max(0.01)))
            .collect();
        let lines = vec![Line {
            points,
            name: "a".into(),
            colour: chart.lines[0].colour,
        }];
        assert!(
            svg(&[Chart { lines, ..chart }])
                .unwrap()
                .contains("<polygon")
        );
    }

    #[test]
    fn numbers_on_an_axis_are_plain() {
        assert_eq!(
            [plain(0.1 + 0.2), plain(2.0), plain(-0.25)],
            ["0.3", "2", "-0.25"]
        );
    }
}
