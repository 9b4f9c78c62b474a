//! A forest plot: one number of every row of a table, with its interval, beside the paper's.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::svg::{Area, Drawn, INK, bold, digits, headed, label, range, sheet};

/// Width of a plot, and height of a row of it, as drawn.
const WIDTH: u32 = 920;
const ROW: u32 = 46;
/// Room above for the title, below for the axis, and at the left for the names.
const HEAD: u32 = 60;
const AXIS: u32 = 90;
const NAMES: u32 = 366;

/// A plot.
pub struct Forest {
    /// What it shows.
    pub title: String,
    /// The axis below.
    pub x: String,
    /// The rows, from above.
    pub rows: Vec<Row>,
}

/// A row of it.
pub enum Row {
    /// The name of those that follow.
    Group(&'static str),
    /// A number.
    Number {
        /// Of what.
        name: String,
        /// The colour.
        colour: RGBColor,
        /// The number; or, if there is none, why.
        value: Result<f64, &'static str>,
        /// Its interval.
        interval: Option<[f64; 2]>,
        /// The paper's number.
        paper: Option<f64>,
    },
}

impl Forest {
    /// As an SVG.
    pub fn svg(&self) -> anyhow::Result<String> {
        let height = HEAD + ROW * self.rows.len() as u32 + AXIS;
        sheet((WIDTH, height), &self.title, |root| self.draw(root))
    }

    fn draw<'a>(&self, area: &Area<'a>) -> Drawn<'a> {
        let body = headed(area, &self.title, &[])?;
        let x = range(self.rows.iter().flat_map(Row::numbers), 0.04);
        let mut chart = ChartBuilder::on(&body)
            .margin_right(30)
            .x_label_area_size(AXIS - 6)
            .y_label_area_size(NAMES)
            .build_cartesian_2d(x.0..x.1, 0.0..self.rows.len() as f64)?;
        let digits = digits(x.1 - x.0);
        let small = label(HPos::Center).pos(Pos::new(HPos::Left, VPos::Top));
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(0)
            .x_labels(7)
            .max_light_lines(0)
            .bold_line_style(INK.mix(0.13).stroke_width(2))
            .axis_style(INK.mix(0.4).stroke_width(2))
            .label_style(small.color(&INK.mix(0.75)))
            .axis_desc_style(small.clone())
            .x_desc(&self.x)
            .x_label_formatter(&|x| format!("{x:.digits$}"))
            .draw()?;
        for (i, row) in self.rows.iter().enumerate() {
            let y = self.rows.len() as f64 - i as f64 - 0.5;
            // Where that is on the sheet: names stand outside of the axes.
            let at = chart.backend_coord(&(x.0, y)).1 - body.get_base_pixel().1;
            match row {
                Row::Group(name) => body.draw_text(name, &bold(HPos::Left), (24, at))?,
                Row::Number {
                    name,
                    colour,
                    value,
                    interval,
                    paper,
                } => {
                    body.draw_text(name, &label(HPos::Left), (54, at))?;
                    if let Some([lo, hi]) = interval {
                        chart.draw_series([PathElement::new(
                            vec![(*lo, y), (*hi, y)],
                            colour.mix(0.55).stroke_width(6),
                        )])?;
                    }
                    if let Some(paper) = paper {
                        chart.draw_series([Circle::new(
                            (*paper, y),
                            11,
                            colour.stroke_width(4),
                        )])?;
                    }
                    match value {
                        Ok(value) => {
                            _ = chart.draw_series([Circle::new(
                                (*value, y),
                                10,
                                colour.filled(),
                            )])?
                        }
                        Err(why) => {
                            body.draw_text(why, &label(HPos::Left), (NAMES as i32 + 12, at))?
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl Row {
    fn numbers(&self) -> Vec<f64> {
        match self {
            Row::Group(_) => Vec::new(),
            Row::Number {
                value,
                interval,
                paper,
                ..
            } => value
                .iter()
                .copied()
                .chain(interval.iter().flatten().copied())
                .chain(*paper)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_its_number_its_interval_and_the_papers() {
        let number = |value, paper| Row::Number {
            name: "P<RL>".into(),
            colour: RGBColor(200, 0, 30),
            value,
            interval: value.ok().map(|v| [v - 0.1, v + 0.1]),
            paper,
        };
        let rows = vec![
            Row::Group("GRU"),
            number(Ok(0.5), Some(0.6)),
            number(Err("failed"), None),
        ];
        let svg = Forest {
            title: "T".into(),
            x: "HR@20".into(),
            rows,
        }
        .svg()
        .unwrap();
        assert_eq!(svg.matches("<circle").count(), 2, "ours and the paper's");
        assert!(
            svg.contains("P&lt;RL&gt;") && svg.contains("GRU") && svg.contains("failed"),
            "{svg}"
        );
        assert!(
            Forest {
                title: "T".into(),
                x: "x".into(),
                rows: Vec::new()
            }
            .svg()
            .is_ok()
        );
    }
}
