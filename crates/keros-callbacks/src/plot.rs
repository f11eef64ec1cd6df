//! Learning curves as an SVG picture: a panel per metric, training beside validation.

use crate::history::{History, HistoryError, write_beside_and_rename};
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged};
use plotters::prelude::*;
use std::error::Error;
use std::ops::Range;
use std::path::Path;

const PANEL: (u32, u32) = (480, 360);
const TRAINING: RGBColor = RGBColor(31, 119, 180);
const VALIDATION: RGBColor = RGBColor(214, 89, 14);

impl History {
    /// Draws the learning curves: for the loss and each metric of the run a panel with the training
    /// curve and, where it was measured, the validation curve, over one-based epochs. The file
    /// appears whole or not at all.
    ///
    /// # Errors
    /// When there is nothing to draw, or the file cannot be written.
    pub fn write_svg(&self, path: impl AsRef<Path>) -> Result<(), HistoryError> {
        let path = path.as_ref();
        let picture = draw(self).map_err(|error| HistoryError::Plot {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        write_beside_and_rename(path, picture.as_bytes())
    }
}

fn draw(history: &History) -> Result<String, Box<dyn Error>> {
    let metrics: Vec<&str> = history
        .keys()
        .into_iter()
        .filter(|key| !key.starts_with("val_"))
        .collect();
    if metrics.is_empty() {
        return Err("the history holds no numbers".into());
    }
    let mut picture = String::new();
    {
        let size = (PANEL.0 * u32::try_from(metrics.len())?, PANEL.1);
        let area = SVGBackend::with_string(&mut picture, size).into_drawing_area();
        area.fill(&WHITE)?;
        for (panel, metric) in area.split_evenly((1, metrics.len())).iter().zip(&metrics) {
            draw_panel(history, metric, panel)?;
        }
        area.present()?;
    }
    Ok(picture)
}

fn draw_panel(
    history: &History,
    metric: &str,
    panel: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
) -> Result<(), Box<dyn Error>> {
    let curve = |key: &str| -> Vec<(f64, f64)> {
        history
            .points(key)
            .filter(|(_, value)| value.is_finite())
            .map(|(epoch, value)| (epoch as f64 + 1.0, value))
            .collect()
    };
    let curves = [
        ("training", TRAINING, curve(metric)),
        ("validation", VALIDATION, curve(&format!("val_{metric}"))),
    ];
    let points = || curves.iter().flat_map(|(_, _, points)| points);
    let (epochs, values) = (
        bounds(points().map(|point| point.0), 0.5),
        bounds(points().map(|point| point.1), 1e-3),
    );
    let mut chart = ChartBuilder::on(panel)
        .caption(metric, ("sans-serif", 18))
        .margin(14)
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d(Epochs(epochs), values)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.1))
        .label_style(("sans-serif", 13))
        .draw()?;
    for (name, color, points) in &curves {
        if points.is_empty() {
            continue;
        }
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                color.stroke_width(2),
            ))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        chart.draw_series(
            points
                .iter()
                .map(|point| Circle::new(*point, 3, color.filled())),
        )?;
    }
    // A curve that falls leaves the upper corner free, one that rises the lower one.
    let falls = match curves[0].2.as_slice() {
        [first, .., last] => last.1 < first.1,
        _ => true,
    };
    chart
        .configure_series_labels()
        .position(match falls {
            true => SeriesLabelPosition::UpperRight,
            false => SeriesLabelPosition::LowerRight,
        })
        .border_style(BLACK.mix(0.2))
        .background_style(WHITE.mix(0.8))
        .label_font(("sans-serif", 13))
        .draw()?;
    Ok(())
}

/// The range of the values, widened by a twentieth on each side, at least by `least`.
fn bounds(values: impl Iterator<Item = f64>, least: f64) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low > high {
        return 0.0..1.0;
    }
    let margin = ((high - low) / 20.0).max(least);
    low - margin..high + margin
}

/// An axis whose marks are whole epochs.
struct Epochs(Range<f64>);

impl Ranged for Epochs {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.0.start) / (self.0.end - self.0.start);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let (first, last) = (self.0.start.ceil() as i64, self.0.end.floor() as i64);
        let most = hint.max_num_points().clamp(1, 10) as i64;
        let step = ((last - first + 1) / most).max(1) as usize;
        (first..=last)
            .step_by(step)
            .map(|epoch| epoch as f64)
            .collect()
    }

    fn range(&self) -> Range<f64> {
        self.0.clone()
    }
}

impl plotters::coord::ranged1d::ValueFormatter<f64> for Epochs {
    fn format(value: &f64) -> String {
        format!("{value:.0}")
    }
}
