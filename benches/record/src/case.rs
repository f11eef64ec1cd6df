//! Cases and their sides, in one form for what criterion measures and for libraries that play against each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What one run of a suite measured, as it hands it over.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Results {
    /// The suite.
    pub suite: String,
    /// Whether keros ran in turn with other libraries (`--against`), instead of the cases of criterion.
    pub contest: bool,
    /// Versions of those libraries and of what they need, by module.
    pub libraries: BTreeMap<String, String>,
    /// In the order in which they were measured.
    pub cases: Vec<Case>,
}

impl Results {
    /// What criterion measured.
    #[must_use]
    pub fn of_suite(suite: &str, cases: Vec<Case>) -> Results {
        Results {
            suite: suite.to_owned(),
            contest: false,
            libraries: BTreeMap::new(),
            cases,
        }
    }

    /// What keros and others reached in turn.
    #[must_use]
    pub fn of_contest(
        suite: &str,
        libraries: BTreeMap<String, String>,
        cases: Vec<Case>,
    ) -> Results {
        Results {
            contest: true,
            libraries,
            ..Results::of_suite(suite, cases)
        }
    }
}

/// What was measured of one thing.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Case {
    /// Different from those of the suite's other cases.
    pub name: String,
    /// Of all values, such as `images/s`.
    pub unit: String,
    /// Which values are good ones.
    pub better: Better,
    /// How often all sides were measured.
    pub rounds: usize,
    /// Ours, then those it is compared with.
    pub sides: Vec<Side>,
}

/// Which of two values is the better one.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// The larger one, as of a rate.
    Higher,
    /// The smaller one, as of a time.
    Lower,
}

/// What was measured of one side of a case.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Side {
    /// A library, a way of doing it, or a limit of the machine.
    pub who: String,
    /// In the case's unit.
    pub value: Quartiles,
    /// The first side's value divided by this one's, taken within each round; the first side has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Quartiles>,
}

impl Case {
    /// The case of these rounds, each with the value of every side; `who` names the sides, ours first.
    ///
    /// On a machine that has other work to do, two figures measured one after the other differ by what happened
    /// meanwhile. So ratios are taken within a round, where all sides had the same disturbance.
    #[must_use]
    pub fn of_rounds(
        name: impl Into<String>,
        unit: &str,
        better: Better,
        who: &[&str],
        rounds: &[Vec<f64>],
    ) -> Case {
        let of = |value: &dyn Fn(&[f64]) -> Option<f64>| {
            Quartiles::of(rounds.iter().filter_map(|round| value(round)).collect())
        };
        let sides = who.iter().enumerate().map(|(side, who)| Side {
            who: (*who).to_owned(),
            value: of(&|round| round.get(side).copied()),
            ratio: (side > 0).then(|| of(&|round| Some(round.first()? / round.get(side)?))),
        });
        Case {
            name: name.into(),
            unit: unit.to_owned(),
            better,
            rounds: rounds.len(),
            sides: sides.collect(),
        }
    }
}

/// The median of the rounds, and the range that half of them lie in.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Quartiles {
    /// A quarter of the rounds lies below.
    pub low: f64,
    /// Half of the rounds lies below.
    pub median: f64,
    /// A quarter of the rounds lies above.
    pub high: f64,
}

impl Quartiles {
    /// Of the values in any order, to five digits; NaN if there is none.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Quartiles {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * values.len().saturating_sub(1) as f64;
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            let value = match (values.get(below), values.get(above)) {
                (Some(low), Some(high)) => low + (high - low) * place.fract(),
                _ => f64::NAN,
            };
            format!("{value:.4e}").parse().unwrap_or(value)
        };
        Quartiles {
            low: at(0.25),
            median: at(0.5),
            high: at(0.75),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_values() {
        let quartiles = Quartiles::of(vec![4.0, 1.0, 3.0, 2.0]);
        let expected = Quartiles {
            low: 1.75,
            median: 2.5,
            high: 3.25,
        };
        assert_eq!(quartiles, expected);
        assert_eq!(Quartiles::of(vec![123_456.7]).median, 123_460.0);
        assert!(Quartiles::of(Vec::new()).median.is_nan());
    }

    #[test]
    fn ratios_are_taken_within_the_rounds() {
        let rounds = [vec![10.0, 5.0], vec![100.0, 25.0], vec![30.0, 10.0]];
        let case = Case::of_rounds(
            "mlp",
            "images/s",
            Better::Higher,
            &["keros", "torch"],
            &rounds,
        );
        let [keros, torch] = case.sides.as_slice() else {
            panic!("{case:?}");
        };
        assert_eq!((keros.value.median, keros.ratio), (30.0, None));
        // 30 ÷ 10, not the ratio of the ranges' ends.
        let ratio = torch.ratio.unwrap();
        assert_eq!((ratio.low, ratio.median, ratio.high), (2.5, 3.0, 3.5));
    }
}
