//! The chart of a record: keros beside other libraries, for the front page.

use std::collections::BTreeMap;

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::case::{Better, Case};
use crate::record::{Record, Run};
use crate::table::significant;

// A card with a ground of its own, which is as legible on a dark page as on a light one.
const GROUND: RGBColor = RGBColor(255, 255, 255);
const FRAME: RGBColor = RGBColor(208, 215, 222);
const TEXT: RGBColor = RGBColor(31, 35, 40);
const MUTED: RGBColor = RGBColor(89, 99, 110);
const KEROS: RGBColor = RGBColor(217, 95, 2);
const OTHERS: RGBColor = RGBColor(163, 177, 191);

const WIDTH_PX: i32 = 820;
const MARGIN_PX: i32 = 28;
const HEAD_PX: i32 = 84;
const FOOT_PX: i32 = 56;
const GROUP_HEAD_PX: i32 = 30;
const BAR_PX: i32 = 18;
const BAR_STEP_PX: i32 = 23;
const GROUP_GAP_PX: i32 = 14;
/// Where the bars begin, and how long the longest is.
const BARS_PX: (i32, i32) = (150, 430);

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws the rates of keros and of those it ran in turn with as SVG, a group of bars for each case; `None` if the
/// record has no such case. Where workers were counted, two of them are shown.
///
/// # Errors
/// None that is known.
pub fn draw(record: &Record) -> Result<Option<String>> {
    let contests = record.runs.iter().filter(|run| run.results.contest);
    let mut groups: Vec<(&str, Case)> = contests
        .flat_map(|run| run.results.cases.iter().map(move |case| (run, case)))
        .filter(|(_, case)| case.sides.len() > 1 && case.better == Better::Higher)
        .filter(|(_, case)| !case.name.ends_with(", one worker"))
        .map(|(run, case)| {
            (
                run.results.suite.as_str(),
                with_sides_alone(record, run, case),
            )
        })
        .collect();
    if groups.is_empty() {
        return Ok(None);
    }
    // What most readers look for comes first.
    groups.sort_by_key(|(suite, _)| *suite != "train");
    let heights = groups.iter().map(|(_, case)| height_px(case));
    let height = HEAD_PX + heights.sum::<i32>() + FOOT_PX;
    let mut picture = String::new();
    {
        let size = (WIDTH_PX.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(&mut picture, size).into_drawing_area();
        area.fill(&GROUND)?;
        area.draw(&Rectangle::new([(0, 0), (WIDTH_PX - 1, height - 1)], FRAME))?;
        let title = font(25, TEXT, FontStyle::Bold, HPos::Left);
        write(
            &area,
            "keros beside other libraries",
            (MARGIN_PX, 34),
            title,
        )?;
        let what =
            "Work per second: longer is faster. On the right, how many times as fast keros is.";
        let small = font(16, MUTED, FontStyle::Normal, HPos::Left);
        write(&area, what, (MARGIN_PX, 60), small)?;
        let mut top = HEAD_PX;
        for (suite, case) in groups {
            draw_group(&area, top, suite, &case)?;
            top += height_px(&case);
        }
        for (line, text) in footer(record).iter().enumerate() {
            let at = (MARGIN_PX, top + 18 * (line as i32 + 1));
            let small = font(14, MUTED, FontStyle::Normal, HPos::Left);
            write(&area, text, at, small)?;
        }
        area.present()?;
    }
    picture.push('\n');
    Ok(Some(picture))
}

/// A case of a contest, and beside its sides those that its suite by itself compares keros with under the same name, in
/// rounds of its own.
fn with_sides_alone(record: &Record, contest: &Run, case: &Case) -> Case {
    let alone = record
        .runs
        .iter()
        .filter(|run| !run.results.contest && run.results.suite == contest.results.suite);
    let same = |other: &&Case| (&other.name, &other.unit) == (&case.name, &case.unit);
    let sides = alone
        .flat_map(|run| run.results.cases.iter().filter(same))
        .flat_map(|other| other.sides.iter().skip(1));
    let mut case = case.clone();
    for side in sides {
        if case.sides.iter().all(|known| known.who != side.who) {
            case.sides.push(side.clone());
        }
    }
    case
}

fn height_px(case: &Case) -> i32 {
    let bars = i32::try_from(case.sides.len()).unwrap_or(0);
    GROUP_HEAD_PX + bars * BAR_STEP_PX + GROUP_GAP_PX
}

fn draw_group(area: &Area<'_>, top: i32, suite: &str, case: &Case) -> Result<()> {
    let heading = format!("{suite}: {}, {}", case.name, case.unit);
    let at = (MARGIN_PX, top + GROUP_HEAD_PX / 2);
    write(
        area,
        &heading,
        at,
        font(18, TEXT, FontStyle::Bold, HPos::Left),
    )?;
    let longest = case.sides.iter().map(|side| side.value.median);
    let longest = longest.fold(f64::MIN_POSITIVE, f64::max);
    for (number, side) in case.sides.iter().enumerate() {
        let top = top + GROUP_HEAD_PX + number as i32 * BAR_STEP_PX;
        let (middle, (left, most)) = (top + BAR_PX / 2 + 1, BARS_PX);
        let length = (side.value.median / longest * f64::from(most)).round() as i32;
        let (color, weight) = match side.ratio {
            None => (KEROS, FontStyle::Bold),
            Some(_) => (OTHERS, FontStyle::Normal),
        };
        let bar = [(left, top), (left + length.max(1), top + BAR_PX)];
        area.draw(&Rectangle::new(bar, color.filled()))?;
        let who = font(16, TEXT, weight, HPos::Right);
        write(area, &side.who, (left - 10, middle), who)?;
        let value = thousands(side.value.median);
        let end = (left + length + 10, middle);
        write(area, &value, end, font(16, TEXT, weight, HPos::Left))?;
        if let Some(ratio) = side.ratio {
            let ratio = format!("keros {}×", significant(ratio.median));
            let end = (WIDTH_PX - MARGIN_PX, middle);
            write(area, &ratio, end, font(16, MUTED, weight, HPos::Right))?;
        }
    }
    Ok(())
}

/// Writes a line that begins or ends there and has its middle at that height.
fn write(area: &Area<'_>, line: &str, at: (i32, i32), font: TextStyle<'_>) -> Result<()> {
    area.draw(&Text::new(line.to_owned(), at, font))?;
    Ok(())
}

fn font(size: i32, color: RGBColor, weight: FontStyle, end: HPos) -> TextStyle<'static> {
    let font = ("sans-serif", size, weight).into_font().color(&color);
    font.pos(Pos::new(end, VPos::Center))
}

/// The machine, and the last day and the versions of the runs.
fn footer(record: &Record) -> [String; 2] {
    let contests = record.runs.iter().filter(|run| run.results.contest);
    let (mut libraries, mut day) = (BTreeMap::new(), "");
    for run in contests {
        libraries.extend(&run.results.libraries);
        day = day.max(run.date.as_str());
    }
    let libraries: Vec<String> = libraries
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    [
        record.machine.to_string(),
        format!("{day}; {}", libraries.join(", ")),
    ]
}

/// A figure as in the tables, its thousands apart.
fn thousands(value: f64) -> String {
    let text = significant(value);
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut groups: Vec<&str> = Vec::new();
    let mut whole = whole;
    while whole.len() > 3 {
        let (front, group) = whole.split_at(whole.len() - 3);
        groups.push(group);
        whole = front;
    }
    groups.push(whole);
    groups.reverse();
    groups.join(",") + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        let texts = [0.5, 12.34, 999.0, 1_000.0, 1_234_567.0].map(thousands);
        assert_eq!(texts, ["0.500", "12.3", "999", "1,000", "1,234,567"]);
    }
}
