//! Forest plots: one number per row of a table with its confidence interval, beside the paper's.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::svg::{
    Area, Axes, DrawError, Plot, bold, digits, draw_axes, draw_header, label, range, render,
};

/// Drawn width of a plot, and height of a row.
const WIDTH: u32 = 920;
const ROW: u32 = 46;
/// Drawn space for the title, for the axis, and for the names at the left.
const HEAD: u32 = 60;
const AXIS: u32 = 90;
const NAMES: u32 = 366;

/// A plot.
pub struct ForestPlot {
    /// Title.
    pub title: String,
    /// Title of the horizontal axis.
    pub x: String,
    /// Rows, from top to bottom.
    pub rows: Vec<ForestRow>,
}

/// A row of a plot.
pub enum ForestRow {
    /// Heading of the rows below it.
    Group(&'static str),
    /// A number.
    Number(ForestNumber),
}

/// A number in a plot.
pub struct ForestNumber {
    /// Name of its row.
    pub name: String,
    /// Colour.
    pub colour: RGBColor,
    /// Value, or why there is none.
    pub value: Result<f64, &'static str>,
    /// Confidence interval.
    pub interval: Option<[f64; 2]>,
    /// The paper's value.
    pub paper: Option<f64>,
}

impl ForestPlot {
    /// Draws the plot.
    ///
    /// # Errors
    /// If plotters fails.
    pub fn svg(&self) -> Result<String> {
        let height = HEAD + ROW * self.rows.len() as u32 + AXIS;
        render((WIDTH, height), &self.title, |root| self.draw(root))
    }

    fn draw(&self, area: &Area<'_>) -> Result<(), DrawError> {
        let body = draw_header(area, &self.title, &[])?;
        let x = range(self.numbers(), 0.04);
        let height = self.rows.len() as f64;
        let mut plot = ChartBuilder::on(&body)
            .margin_right(30)
            .x_label_area_size(AXIS - 6)
            .y_label_area_size(NAMES)
            .build_cartesian_2d(x.0..x.1, 0.0..height)?;
        let digits = digits(x.1 - x.0);
        let axes = Axes {
            x_title: &self.x,
            x_label: &|x| format!("{x:.digits$}"),
            y: None,
        };
        draw_axes(&mut plot, &axes)?;
        for (i, row) in self.rows.iter().enumerate() {
            let y = height - i as f64 - 0.5;
            // Names are outside the axes, so they need the pixel position in the area.
            let pixel = plot.backend_coord(&(x.0, y)).1 - body.get_base_pixel().1;
            match row {
                ForestRow::Group(name) => body.draw_text(name, &bold(HPos::Left), (24, pixel))?,
                ForestRow::Number(number) => {
                    body.draw_text(&number.name, &label(HPos::Left), (54, pixel))?;
                    number.draw(&mut plot, y)?;
                    if let Err(why) = number.value {
                        let x = NAMES as i32 + 12;
                        body.draw_text(why, &label(HPos::Left), (x, pixel))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// All numbers of the plot, for the range of its axis.
    fn numbers(&self) -> Vec<f64> {
        let mut numbers = Vec::new();
        for row in &self.rows {
            if let ForestRow::Number(number) = row {
                numbers.extend(number.value);
                numbers.extend(number.interval.into_iter().flatten());
                numbers.extend(number.paper);
            }
        }
        numbers
    }
}

impl ForestNumber {
    fn draw(&self, plot: &mut Plot<'_, '_>, y: f64) -> Result<(), DrawError> {
        if let Some([lo, hi]) = self.interval {
            let bar = self.colour.mix(0.55).stroke_width(6);
            plot.draw_series([PathElement::new(vec![(lo, y), (hi, y)], bar)])?;
        }
        if let Some(paper) = self.paper {
            let ring = self.colour.stroke_width(4);
            plot.draw_series([Circle::new((paper, y), 11, ring)])?;
        }
        if let Ok(value) = self.value {
            let dot = self.colour.filled();
            plot.draw_series([Circle::new((value, y), 10, dot)])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_contains_number_interval_and_paper() {
        let number = |value, paper| {
            ForestRow::Number(ForestNumber {
                name: "P<RL>".into(),
                colour: RGBColor(200, 0, 30),
                value,
                interval: value.ok().map(|v| [v - 0.1, v + 0.1]),
                paper,
            })
        };
        let plot = ForestPlot {
            title: "T".into(),
            x: "HR@20".into(),
            rows: vec![
                ForestRow::Group("GRU"),
                number(Ok(0.5), Some(0.6)),
                number(Err("failed"), None),
            ],
        };
        let svg = plot.svg().unwrap();
        assert_eq!(svg.matches("<circle").count(), 2, "ours and the paper's");
        assert!(
            svg.contains("P&lt;RL&gt;") && svg.contains("GRU") && svg.contains("failed"),
            "{svg}"
        );
    }

    #[test]
    fn empty_plot_is_drawn() {
        let plot = ForestPlot {
            title: "T".into(),
            x: "x".into(),
            rows: Vec::new(),
        };
        assert!(plot.svg().is_ok());
    }
}
