//! `custom_layer`: the three ways of writing a layer have the same gradients and learn the same.

use crate::support::run;

#[test]
fn the_three_ways_agree() {
    let args = ["--limit", "1000", "--epochs", "4"];
    let printed = run(env!("CARGO_BIN_EXE_custom_layer"), &args);
    let tables: Vec<Vec<&str>> = printed
        .split("\n\n")
        .map(|table| table.lines().skip(2).collect())
        .collect();
    let (gradients, trainings) = (&tables[0], &tables[1]);
    assert_eq!((gradients.len(), trainings.len()), (5, 3), "{printed}");
    let number = |cell: &str| -> f64 { cell.parse().unwrap() };
    for row in gradients {
        let cells: Vec<&str> = row.split_whitespace().collect();
        let [largest, by_hand, candle] = [1, 2, 3].map(|column| number(cells[column]));
        assert!(largest > 0.0, "{row}");
        assert!(by_hand < 1e-5 * largest.max(0.1), "{row}");
        assert!(candle < 1e-5 * largest.max(0.1), "{row}");
    }
    let accuracies: Vec<f64> = trainings
        .iter()
        .map(|row| number(row.split_whitespace().rev().nth(2).unwrap()))
        .collect();
    for accuracy in &accuracies {
        assert!(*accuracy > 0.7, "{printed}");
        assert!((accuracy - accuracies[0]).abs() < 0.01, "{printed}");
    }
}
