//! The curve of a sweep as a CSV file and as an SVG picture.

use crate::sweep::Point;
use keros_plugin::BoxError;
use plotters::prelude::*;
use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;

const SIZE_PX: (u32, u32) = (640, 400);
const LOSS: RGBColor = RGBColor(190, 190, 190);
const SMOOTHED: RGBColor = RGBColor(31, 119, 180);
const SUGGESTION: RGBColor = RGBColor(214, 89, 14);

/// Writes a row per point.
pub(crate) fn write_csv(path: &Path, points: &[Point]) -> Result<(), BoxError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["step", "learning_rate", "loss", "smoothed_loss"])?;
    for (step, point) in points.iter().enumerate() {
        let numbers = [point.learning_rate, point.loss, point.smoothed];
        let mut row = vec![step.to_string()];
        row.extend(numbers.iter().map(f64::to_string));
        writer.write_record(&row)?;
    }
    write_beside_and_rename(path, &writer.into_inner()?)
}

/// Draws the losses over a logarithmic axis of learning rates, and the suggested point.
pub(crate) fn write_svg(
    path: &Path,
    points: &[Point],
    suggestion: Option<Point>,
) -> Result<(), BoxError> {
    let picture = draw(points, suggestion)
        .map_err(|error| format!("drawing the curve for {}: {error}", path.display()))?;
    write_beside_and_rename(path, picture.as_bytes())
}

fn draw(points: &[Point], suggestion: Option<Point>) -> Result<String, Box<dyn Error>> {
    let points: Vec<&Point> = points
        .iter()
        .filter(|point| point.loss.is_finite())
        .collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Err("no loss is finite".into());
    };
    // The losses themselves may run out of the picture, the smoothed ones not.
    let smoothed = || points.iter().map(|point| point.smoothed);
    let (low, high) = (
        smoothed().fold(f64::INFINITY, f64::min),
        smoothed().fold(f64::NEG_INFINITY, f64::max),
    );
    let margin = ((high - low) / 10.0).max(1e-3);
    let losses = low - margin..high + margin;
    let rates =
        (first.learning_rate..last.learning_rate.max(first.learning_rate * 1.1)).log_scale();

    let mut picture = String::new();
    {
        let area = SVGBackend::with_string(&mut picture, SIZE_PX).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(14)
            .x_label_area_size(36)
            .y_label_area_size(52)
            .build_cartesian_2d(rates, losses.clone())?;
        chart
            .configure_mesh()
            .x_desc("learning rate")
            .y_desc("loss")
            .x_label_formatter(&|rate| format!("{rate:e}"))
            .light_line_style(WHITE)
            .bold_line_style(BLACK.mix(0.1))
            .label_style(("sans-serif", 13))
            .draw()?;
        let inside = |loss: f64| loss.clamp(losses.start, losses.end);
        let raw = points
            .iter()
            .map(|point| (point.learning_rate, inside(point.loss)));
        chart.draw_series(LineSeries::new(raw, &LOSS))?;
        let smooth = points
            .iter()
            .map(|point| (point.learning_rate, point.smoothed));
        chart.draw_series(LineSeries::new(smooth, SMOOTHED.stroke_width(2)))?;
        if let Some(Point {
            learning_rate,
            smoothed,
            ..
        }) = suggestion
        {
            let label = format!("{learning_rate:.1e}");
            let style = ("sans-serif", 14).into_font().color(&SUGGESTION);
            let mark = EmptyElement::at((learning_rate, smoothed))
                + Circle::new((0, 0), 5, SUGGESTION.filled())
                + Text::new(label, (9, -12), style);
            chart.draw_series([mark])?;
        }
        area.present()?;
    }
    Ok(picture)
}

/// The file appears whole or not at all.
fn write_beside_and_rename(path: &Path, bytes: &[u8]) -> Result<(), BoxError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    Ok(written.map_err(|error| {
        // The failure that the user needs to hear is the one that came first.
        let _ = fs::remove_file(&beside);
        io::Error::new(error.kind(), format!("writing {}: {error}", path.display()))
    })?)
}
