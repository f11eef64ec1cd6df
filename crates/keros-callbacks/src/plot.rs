//! Learning curves as an SVG picture: a panel per metric, training beside validation.

use crate::history::{History, HistoryError, write_beside_and_rename};
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error;
use std::ops::Range;
use std::path::Path;

const PANEL: (u32, u32) = (480, 360);
const COLUMNS: usize = 3;
/// Above the curves of a panel: its title, and below it the legend.
const HEAD_PX: i32 = 56;
/// Blue and orange are told apart by colour-blind eyes too, and as greys.
const TRAINING: RGBColor = RGBColor(31, 119, 180);
const VALIDATION: RGBColor = RGBColor(230, 120, 20);
/// More points than these are drawn as a line alone.
const MOST_DOTS: usize = 60;

impl History {
    /// Draws the learning curves: for the loss and each metric of the run a panel with the training
    /// curve and, where it was measured, the validation curve, over one-based epochs. Values that are
    /// not finite leave a gap, and the legend tells how many there are. The file appears whole or not
    /// at all.
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
        let (columns, rows) = (metrics.len().min(COLUMNS), metrics.len().div_ceil(COLUMNS));
        let size = (
            PANEL.0 * u32::try_from(columns)?,
            PANEL.1 * u32::try_from(rows)?,
        );
        let area = SVGBackend::with_string(&mut picture, size).into_drawing_area();
        area.fill(&WHITE)?;
        for (panel, metric) in area.split_evenly((rows, columns)).iter().zip(&metrics) {
            draw_panel(history, metric, panel)?;
        }
        area.present()?;
    }
    Ok(picture)
}

/// One set of a metric.
struct Curve {
    name: &'static str,
    color: RGBColor,
    /// One-based epochs and values, in pieces between values that are not finite.
    pieces: Vec<Vec<(f64, f64)>>,
    not_finite: usize,
}

impl Curve {
    fn new(history: &History, key: &str, name: &'static str, color: RGBColor) -> Curve {
        let mut curve = Curve {
            name,
            color,
            pieces: vec![Vec::new()],
            not_finite: 0,
        };
        for (epoch, value) in history.points(key) {
            if value.is_finite() {
                let point = (epoch as f64 + 1.0, value);
                if let Some(piece) = curve.pieces.last_mut() {
                    piece.push(point);
                }
            } else {
                curve.not_finite += 1;
                curve.pieces.push(Vec::new());
            }
        }
        curve
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.pieces.iter().flatten().copied()
    }

    fn is_measured(&self) -> bool {
        self.not_finite > 0 || self.points().next().is_some()
    }

    fn label(&self) -> String {
        match self.not_finite {
            0 => self.name.to_owned(),
            count => format!("{} ({count} not finite)", self.name),
        }
    }
}

type Panel<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_panel(history: &History, metric: &str, panel: &Panel<'_>) -> Result<(), Box<dyn Error>> {
    let validation = format!("val_{metric}");
    let mut curves = vec![
        Curve::new(history, metric, "training", TRAINING),
        Curve::new(history, &validation, "validation", VALIDATION),
    ];
    curves.retain(Curve::is_measured);
    let (head, body) = panel.split_vertically(HEAD_PX);
    draw_head(metric, &curves, &head)?;
    let points = || curves.iter().flat_map(Curve::points);
    let epochs = points().map(|point| point.0);
    let (first, last) = ends(epochs).unwrap_or((1.0, 1.0));
    let margin = ((last - first) / 40.0).max(0.5);
    let epochs = Epochs(first - margin..last + margin);
    let (low, high) = ends(points().map(|point| point.1)).unwrap_or((0.0, 1.0));
    let margin = match (high - low) / 20.0 {
        _ if low == 0.0 && high == 0.0 => 1.0,
        flat if flat <= high.abs() * 1e-9 => high.abs() / 10.0,
        margin => margin,
    };
    let values = low - margin..high + margin;
    let marks = Marks::new(&values);
    let mut chart = ChartBuilder::on(&body)
        .margin(14)
        .margin_top(4)
        .x_label_area_size(42)
        .y_label_area_size(66)
        .build_cartesian_2d(epochs, values)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .y_labels(8)
        .y_label_formatter(&|value| marks.label(*value))
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.1))
        .label_style(("sans-serif", 16))
        .draw()?;
    for curve in &curves {
        let color = curve.color;
        let line = color.stroke_width(2);
        let pieces = curve.pieces.iter().map(|piece| piece.iter().copied());
        for piece in pieces {
            chart.draw_series(LineSeries::new(piece, line))?;
        }
        // A point alone has no line.
        let alone = curve.pieces.iter().filter(|piece| piece.len() == 1);
        let dots: Vec<(f64, f64)> = match curve.points().count() <= MOST_DOTS {
            true => curve.points().collect(),
            false => alone.flatten().copied().collect(),
        };
        let dots = dots.iter().map(|dot| Circle::new(*dot, 3, color.filled()));
        chart.draw_series(dots)?;
    }
    Ok(())
}

/// The title of a panel and, below it, the names of its curves; one curve alone needs none.
fn draw_head(metric: &str, curves: &[Curve], head: &Panel<'_>) -> Result<(), Box<dyn Error>> {
    const TITLE_PX: usize = 20;
    // Letters are half as wide as high.
    let fits = 2 * (PANEL.0 as usize - 28) / metric.chars().count().max(1);
    let title = ("sans-serif", TITLE_PX.min(fits) as i32).into_text_style(head);
    let middle = Pos::new(HPos::Center, VPos::Center);
    let center = PANEL.0 as i32 / 2;
    head.draw(&Text::new(
        metric.to_owned(),
        (center, 20),
        title.pos(middle),
    ))?;
    if let [Curve { not_finite: 0, .. }] = curves {
        return Ok(());
    }
    let style = ("sans-serif", 16).into_text_style(head);
    let style = style.pos(Pos::new(HPos::Left, VPos::Center));
    let (mut x, y) = (80, 44);
    for curve in curves {
        let label = curve.label();
        let length = label.chars().count() as i32 * 8;
        let line = curve.color.stroke_width(3);
        head.draw(&PathElement::new([(x, y), (x + 20, y)], line))?;
        head.draw(&Text::new(label, (x + 26, y), style.clone()))?;
        x += 26 + length + 16;
    }
    Ok(())
}

/// The least and the greatest value; none of no values.
fn ends(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |ends, value| match ends {
        None => Some((value, value)),
        Some((low, high)) => Some((low.min(value), high.max(value))),
    })
}

/// How the values of an axis are written: short, and so that neighbouring marks differ.
struct Marks {
    /// Digits after the point.
    decimals: usize,
    scientific: bool,
}

impl Marks {
    fn new(range: &Range<f64>) -> Marks {
        let place = |value: f64| value.abs().max(f64::MIN_POSITIVE).log10().floor();
        let step = place((range.end - range.start) / 4.0);
        let greatest = place(range.start.abs().max(range.end.abs()));
        let scientific = greatest >= 5.0 || step < -5.0;
        let last = if scientific { greatest - step } else { -step };
        Marks {
            decimals: last.clamp(0.0, 6.0) as usize,
            scientific,
        }
    }

    fn label(&self, value: f64) -> String {
        let decimals = self.decimals;
        match self.scientific {
            true => format!("{value:.decimals$e}"),
            false => format!("{value:.decimals$}"),
        }
    }
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
        let (first, last) = (
            self.0.start.ceil().max(1.0) as i64,
            self.0.end.floor() as i64,
        );
        let most = hint.max_num_points().clamp(1, 12) as i64;
        let powers = std::iter::successors(Some(1), |power: &i64| power.checked_mul(10));
        let mut steps = powers.flat_map(|power| [1, 2, 5].map(|digit| digit * power));
        let step = steps.find(|step| (last - first) / step < most).unwrap_or(1);
        // From the first epoch on if all have a mark, else at round numbers.
        let from = first.div_euclid(step) * step;
        let from = if from < first { from + step } else { from };
        (from..=last)
            .step_by(step as usize)
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
