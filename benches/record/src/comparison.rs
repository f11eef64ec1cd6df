//! A run beside a record: what became faster or slower by more than the noise.

use std::fmt;

use crate::case::{Better, Case, Quartiles, Side};
use crate::page::title;
use crate::record::Record;
use crate::table::{Table, quartiles, significant};

/// Rounds from which the quartiles tell of the noise.
const ROUNDS: usize = 3;

/// Cases that are named where they are only in one; the others are counted.
const NAMED: usize = 10;

/// What [`compare`] found; shown as Markdown.
#[derive(Debug)]
pub struct Comparison {
    /// The name of the record.
    name: String,
    /// What differs between the machines.
    machines: Vec<String>,
    rows: Vec<Row>,
    only_now: Vec<String>,
    only_recorded: Vec<String>,
}

#[derive(Debug)]
struct Row {
    case: String,
    /// The unit of keros's value, or whom it was divided by.
    figure: String,
    recorded: Quartiles,
    now: Quartiles,
    change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    /// The ranges between the quartiles overlap.
    Noise,
    /// There were too few rounds.
    Untold,
    Better,
    Worse,
}

/// Puts the runs of `now` beside the same ones of a record: keros's values, if the machine is the same, and its ratios
/// to whom both were compared with. Suites that did not run now are left out.
#[must_use]
pub fn compare(now: &Record, recorded: &Record, name: &str) -> Comparison {
    let mut comparison = Comparison {
        name: name.to_owned(),
        machines: now.machine.differences(&recorded.machine),
        rows: Vec::new(),
        only_now: Vec::new(),
        only_recorded: Vec::new(),
    };
    for run in &now.runs {
        let title = title(&run.results);
        let Some(old) = recorded.runs.iter().find(|old| old.is_like(run)) else {
            comparison.only_now.push(title);
            continue;
        };
        let (new, old) = (&run.results.cases, &old.results.cases);
        // What has the same name but another unit is another case.
        let same = |a: &Case, b: &Case| (&a.name, &a.unit) == (&b.name, &b.unit);
        for case in new {
            let name = format!("{title}: {}", case.name);
            match old.iter().find(|old| same(old, case)) {
                Some(old) => comparison.add(&name, case, old),
                None => comparison.only_now.push(name),
            }
        }
        let gone = old
            .iter()
            .filter(|old| !new.iter().any(|new| same(old, new)));
        let gone = gone.map(|case| format!("{title}: {}", case.name));
        comparison.only_recorded.extend(gone);
    }
    comparison
}

impl Comparison {
    fn add(&mut self, name: &str, now: &Case, recorded: &Case) {
        if let (Some(new), Some(old), true) = (
            now.sides.first(),
            recorded.sides.first(),
            self.machines.is_empty(),
        ) {
            self.add_row(
                name,
                now.unit.clone(),
                (recorded, old.value),
                (now, new.value),
            );
        }
        let of = |sides: &[Side], who: &str| sides.iter().find(|side| side.who == who)?.ratio;
        for side in &now.sides {
            match (side.ratio, of(&recorded.sides, &side.who)) {
                (Some(new), Some(old)) => {
                    self.add_row(name, format!("÷ {}", side.who), (recorded, old), (now, new));
                }
                (Some(_), None) => self.only_now.push(format!("{name} against {}", side.who)),
                (None, _) => {}
            }
        }
        let gone = recorded
            .sides
            .iter()
            .filter(|old| old.ratio.is_some() && of(&now.sides, &old.who).is_none());
        let gone = gone.map(|side| format!("{name} against {}", side.who));
        self.only_recorded.extend(gone);
    }

    fn add_row(
        &mut self,
        name: &str,
        figure: String,
        recorded: (&Case, Quartiles),
        now: (&Case, Quartiles),
    ) {
        self.rows.push(Row {
            case: name.to_owned(),
            figure,
            recorded: recorded.1,
            now: now.1,
            change: match recorded.0.rounds.min(now.0.rounds) {
                ROUNDS.. => change(now.0.better, recorded.1, now.1),
                _ => Change::Untold,
            },
        });
    }
}

fn change(better: Better, recorded: Quartiles, now: Quartiles) -> Change {
    let (higher, lower) = (now.low > recorded.high, now.high < recorded.low);
    match (better, higher, lower) {
        (Better::Higher, true, _) | (Better::Lower, _, true) => Change::Better,
        (Better::Higher, _, true) | (Better::Lower, true, _) => Change::Worse,
        _ => Change::Noise,
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.machines.is_empty() {
            writeln!(
                f,
                "The record `{}` is of another machine ({}), so only ratios are compared.\n",
                self.name,
                self.machines.join(", ")
            )?;
        }
        if !self.rows.is_empty() {
            let rows = self.rows.iter().map(|row| {
                let change = match row.change {
                    Change::Noise | Change::Untold => "",
                    Change::Better => "better",
                    Change::Worse => "worse",
                };
                [
                    row.case.clone(),
                    row.figure.clone(),
                    change.to_owned(),
                    quartiles(row.recorded),
                    quartiles(row.now),
                    significant(row.now.median / row.recorded.median),
                ]
            });
            let recorded = format!("`{}`", self.name);
            let headings = [
                "case",
                "keros, in",
                "change",
                &recorded,
                "now",
                "now ÷ then",
            ];
            write!(f, "{}", Table::new(3, headings, rows.collect()))?;
        }
        let count = |change| self.rows.iter().filter(|row| row.change == change).count();
        writeln!(
            f,
            "\n{} better, {} worse, {} with ranges between the quartiles that overlap.",
            count(Change::Better),
            count(Change::Worse),
            count(Change::Noise)
        )?;
        match count(Change::Untold) {
            0 => {}
            untold => writeln!(
                f,
                "Of {untold} nothing is said, for their quartiles are of fewer than {ROUNDS} rounds."
            )?,
        }
        for (where_, cases) in [
            ("this run", &self.only_now),
            ("the record", &self.only_recorded),
        ] {
            let named = cases.iter().take(NAMED).map(String::as_str);
            let named: Vec<&str> = named.collect();
            match cases.len() {
                0 => {}
                1..=NAMED => writeln!(f, "Only in {where_}: {}.", named.join("; "))?,
                all => {
                    let others = all - NAMED;
                    writeln!(
                        f,
                        "Only in {where_}: {}; {others} others.",
                        named.join("; ")
                    )?;
                }
            }
        }
        Ok(())
    }
}
