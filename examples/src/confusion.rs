//! A picture of what a classifier takes for what.

use std::fmt::Write;

/// The longest name that is shown whole.
const NAME_CHARS: usize = 20;
/// How wide a letter of the names is, and how high a line.
const LETTER_PX: f64 = 7.5;
const NAME_PX: f64 = 13.0;

/// An SVG confusion matrix: a row for each class with what its samples were taken for, their share
/// as a shade of blue and their number in it, and behind it the share that was right. `counts` is a
/// row for each class, and in it a number for each class.
#[must_use]
pub fn confusion_svg(classes: &[impl AsRef<str>], counts: &[Vec<usize>]) -> String {
    let names: Vec<String> = classes.iter().map(|name| short(name.as_ref())).collect();
    let longest = names.iter().map(|name| name.chars().count()).max();
    let names_px = longest.unwrap_or(0).max(6) as f64 * LETTER_PX + 12.0;
    let most = counts.iter().flatten().max().copied().unwrap_or(0);
    let digits = most.to_string().len() as f64;
    // Many classes have smaller cells, but never too small for their numbers.
    let cell = (900.0 / names.len().max(1) as f64).clamp(24.0, 44.0);
    let cell = cell.max(digits * 7.5 + 8.0);
    let (left, top) = (28.0 + names_px, 34.0 + names_px * 0.75);
    let side = cell * names.len() as f64;
    let (width, height) = (left + side + 70.0 + names_px * 0.4, top + side + 16.0);
    // Writing to a string cannot fail.
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"{NAME_PX}\" \
         fill=\"#333\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{:.1}\" y=\"20\" font-weight=\"bold\">taken for</text>\n\
         <text x=\"18\" y=\"{:.1}\" font-weight=\"bold\" text-anchor=\"middle\" \
         transform=\"rotate(-90 18 {1:.1})\">is</text>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" font-weight=\"bold\">right</text>\n",
        left,
        top + side / 2.0,
        left + side + 10.0,
        top - 8.0,
    );
    for (i, name) in names.iter().enumerate() {
        let middle = (i as f64 + 0.5) * cell;
        let (x, y) = (left + middle, top + middle + NAME_PX * 0.35);
        let _ = writeln!(
            svg,
            "<text x=\"{0:.1}\" y=\"{1:.1}\" transform=\"rotate(-45 {0:.1} {1:.1})\">{name}</text>\
             <text x=\"{2:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{name}</text>",
            x,
            top - 8.0,
            left - 8.0,
        );
    }
    for (row, counts) in counts.iter().enumerate() {
        let all: usize = counts.iter().sum();
        let share = |count: usize| count as f64 / all.max(1) as f64;
        let y = top + row as f64 * cell;
        let baseline = y + cell / 2.0 + NAME_PX * 0.35;
        for (column, count) in counts.iter().enumerate() {
            let x = left + column as f64 * cell;
            let share = share(*count);
            let _ = write!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{cell:.1}\" height=\"{cell:.1}\" \
                 fill=\"{}\" stroke=\"{}\"/>",
                shade(share),
                if row == column { "#333" } else { "#ddd" },
            );
            if *count > 0 {
                let _ = write!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{baseline:.1}\" text-anchor=\"middle\" fill=\"{}\">{count}</text>",
                    x + cell / 2.0,
                    if share > 0.5 { "white" } else { "#111" },
                );
            }
        }
        let right = counts.get(row).copied().unwrap_or(0);
        let right = match all {
            0 => "–".to_owned(),
            _ => format!("{:.0} %", 100.0 * share(right)),
        };
        let x = left + side + 10.0;
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{baseline:.1}\">{right}</text>");
    }
    svg.push_str("</svg>\n");
    svg
}

/// From white to a dark blue; small shares are seen too.
fn shade(share: f64) -> String {
    let depth = share.clamp(0.0, 1.0).sqrt();
    let mix = |dark: f64| (255.0 + (dark - 255.0) * depth).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(8.0), mix(48.0), mix(107.0))
}

/// A name that fits, as text of an SVG.
fn short(name: &str) -> String {
    let name: String = match name.chars().count() > NAME_CHARS {
        true => name.chars().take(NAME_CHARS - 1).chain(['…']).collect(),
        false => name.to_owned(),
    };
    name.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
