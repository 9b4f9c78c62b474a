//! Line charts with bands, as SVG.

use anyhow::Result;
use plotters::prelude::*;

use crate::svg::{Area, Axes, DrawError, Plot, digits, draw_axes, draw_header, range, render};

/// Drawn width and height of a chart.
const SIZE: (u32, u32) = (920, 640);
/// Largest number of points of a line that are marked by dots.
const MAX_MARKED: usize = 12;

/// A chart.
pub struct Chart {
    /// Title.
    pub title: String,
    /// Title of the horizontal axis.
    pub x: String,
    /// Title of the vertical axis.
    pub y: String,
    /// Whether both axes are logarithmic; all coordinates must be positive then.
    pub is_logarithmic: bool,
    /// Lines.
    pub lines: Vec<Line>,
}

/// A line and its band.
pub struct Line {
    /// Name in the legend.
    pub name: String,
    /// Colour, legible on white and on black.
    pub colour: RGBColor,
    /// Points from left to right: x, y, and the lower and upper end of the band.
    pub points: Vec<[f64; 4]>,
}

/// Draws charts side by side.
///
/// # Errors
/// If plotters fails.
pub fn svg(charts: &[Chart]) -> Result<String> {
    let columns = charts.len().max(1);
    let size = (SIZE.0 * columns as u32, SIZE.1);
    let titles: Vec<&str> = charts.iter().map(|chart| chart.title.as_str()).collect();
    render(size, &titles.join("; "), |root| {
        for (chart, area) in charts.iter().zip(root.split_evenly((1, columns))) {
            chart.draw(&area)?;
        }
        Ok(())
    })
}

impl Chart {
    /// Point in the coordinates of the axes: logarithms if they are logarithmic.
    fn to_axes(&self, point: &[f64; 4]) -> [f64; 4] {
        if self.is_logarithmic {
            point.map(f64::log10)
        } else {
            *point
        }
    }

    fn draw(&self, area: &Area<'_>) -> Result<(), DrawError> {
        let mut legend = Vec::new();
        let (mut xs, mut ys) = (Vec::new(), Vec::new());
        for line in &self.lines {
            legend.push((line.name.as_str(), line.colour));
            for point in &line.points {
                let [x, _, lo, hi] = self.to_axes(point);
                xs.push(x);
                ys.extend([lo, hi]);
            }
        }
        let body = draw_header(area, &self.title, &legend)?;
        let x = range(xs, 0.02);
        let y = range(ys, 0.06);
        let mut plot = ChartBuilder::on(&body)
            .margin_top(14)
            .margin_right(36)
            .x_label_area_size(86)
            .y_label_area_size(136)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        self.draw_axes(&mut plot, digits(y.1 - y.0))?;
        for line in &self.lines {
            self.draw_line(&mut plot, line)?;
        }
        Ok(())
    }

    fn draw_axes(&self, plot: &mut Plot<'_, '_>, y_digits: usize) -> Result<(), DrawError> {
        let logarithmic = |x: &f64| power_label(*x);
        let linear_x = |x: &f64| plain(*x);
        let linear_y = |y: &f64| format!("{y:.y_digits$}");
        let axes = if self.is_logarithmic {
            Axes {
                x_title: &self.x,
                x_label: &logarithmic,
                y: Some((&self.y, &logarithmic)),
            }
        } else {
            Axes {
                x_title: &self.x,
                x_label: &linear_x,
                y: Some((&self.y, &linear_y)),
            }
        };
        draw_axes(plot, &axes)
    }

    fn draw_line(&self, plot: &mut Plot<'_, '_>, line: &Line) -> Result<(), DrawError> {
        let (mut path, mut band, mut below) = (Vec::new(), Vec::new(), Vec::new());
        for point in &line.points {
            let [x, y, lo, hi] = self.to_axes(point);
            path.push((x, y));
            band.push((x, hi));
            below.push((x, lo));
        }
        if band.iter().zip(&below).any(|(hi, lo)| hi.1 > lo.1) {
            band.extend(below.into_iter().rev());
            plot.draw_series([Polygon::new(band, line.colour.mix(0.2).filled())])?;
        }
        let stroke = line.colour.stroke_width(5);
        plot.draw_series(LineSeries::new(path.iter().copied(), stroke))?;
        if path.len() <= MAX_MARKED {
            let dots = path
                .into_iter()
                .map(|at| Circle::new(at, 8, line.colour.filled()));
            plot.draw_series(dots)?;
        }
        Ok(())
    }
}

/// Tick label of a logarithmic axis: ten to the power of the coordinate, to two digits: `32k`,
/// `1M`.
fn power_label(logarithm: f64) -> String {
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

/// A number without trailing zeros, rounded so that 0.1 + 0.2 becomes `0.3`.
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
    fn chart_contains_lines_bands_and_names() {
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
    fn line_without_spread_has_no_band() {
        let mut chart = chart(1);
        chart.lines[0].points = vec![[5.0, 0.3, 0.3, 0.3]];
        assert!(!svg(&[chart]).unwrap().contains("<polygon"));
    }

    #[test]
    fn logarithmic_axes_are_labelled_by_values() {
        let names = [31_622.8f64, 1e6, 999_900.0, 70_852.0, 0.316, 100.0, 20.0]
            .map(|x| power_label(x.log10()));
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
    fn plain_labels_have_no_trailing_zeros() {
        assert_eq!(
            [plain(0.1 + 0.2), plain(2.0), plain(-0.25)],
            ["0.3", "2", "-0.25"]
        );
    }
}
