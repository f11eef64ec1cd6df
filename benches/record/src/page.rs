//! A record as a page of Markdown, and the table that every suite prints.

use std::fmt::Write as _;

use crate::case::{Case, Results};
use crate::record::{Record, Run};
use crate::table::{Table, quartiles, significant};

/// The results as one table in Markdown: a row for each side that keros is compared with. The names of the suites are
/// in it if there are several, and that of the first side if it is another than keros, such as one of two ways of keros.
#[must_use]
pub fn table(results: &[&Results]) -> String {
    let several = results.len() > 1;
    let rows = results.iter().flat_map(|results| {
        let suite = several.then(|| title(results));
        results
            .cases
            .iter()
            .flat_map(move |case| rows(suite.as_deref(), case))
    });
    let headings = ["case", "against", "unit", "keros", "it", "keros ÷ it"];
    Table::new(3, headings, rows.collect()).to_string()
}

fn rows(suite: Option<&str>, case: &Case) -> Vec<[String; 6]> {
    let Some((ours, others)) = case.sides.split_first() else {
        return Vec::new();
    };
    let suite = suite.map(|suite| format!("{suite}: ")).unwrap_or_default();
    // The column of the first side is called keros.
    let first = match ours.who.as_str() {
        "keros" => String::new(),
        who => format!("{who}: "),
    };
    let name = format!("{suite}{first}{}", case.name);
    let row = |against: &str, it: String, ratio: String| {
        let keros = significant(ours.value.median);
        [
            name.clone(),
            against.to_owned(),
            case.unit.clone(),
            keros,
            it,
            ratio,
        ]
    };
    if others.is_empty() {
        return vec![row("–", "–".to_owned(), "–".to_owned())];
    }
    let rows = others.iter().map(|side| {
        let ratio = side.ratio.map_or_else(|| "–".to_owned(), quartiles);
        row(&side.who, significant(side.value.median), ratio)
    });
    rows.collect()
}

/// A suite, and which of its two kinds of runs.
pub(crate) fn title(results: &Results) -> String {
    let kind = if results.contest { " --against" } else { "" };
    format!("{}{kind}", results.suite)
}

impl Record {
    /// The record of this name in Markdown.
    #[must_use]
    pub fn page(&self, name: &str) -> String {
        let mut page = format!(
            "# Benchmarks: {name}\n\n\
             Measured on {}.\n\
             Values are medians of the rounds; in parentheses are the quartiles of the ratios within them.\n\
             `cargo xtask bench all --compare {name}` puts a run of yours beside these.\n",
            self.machine
        );
        for run in &self.runs {
            // Writing to a string does not fail.
            let _ = write!(
                page,
                "\n## {}\n\n{}\n\n{}",
                title(&run.results),
                facts(run),
                table(&[&run.results])
            );
        }
        page
    }
}

/// When and with what a run was made.
fn facts(run: &Run) -> String {
    let commit = match &run.commit {
        Some(commit) => format!("commit {}", commit.get(..12).unwrap_or(commit)),
        None => "an unknown commit".to_owned(),
    };
    let changed = if run.clean { "" } else { " with changes" };
    let arguments = match run.arguments.as_slice() {
        [] => "no arguments".to_owned(),
        arguments => format!("the arguments `{}`", arguments.join(" ")),
    };
    let versions = run.versions.iter().chain(&run.results.libraries);
    let versions: Vec<String> = versions
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    format!(
        "{}, {commit}{changed}, {arguments}; {}.",
        run.date,
        versions.join(", ")
    )
}
