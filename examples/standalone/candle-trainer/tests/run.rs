//! The program learns.

use std::process::Command;

#[test]
fn most_points_are_told_in_the_end() {
    let output = Command::new(env!("CARGO_BIN_EXE_candle-trainer"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    let accuracy = said
        .lines()
        .last()
        .and_then(|line| line.strip_prefix("accuracy "))
        .unwrap_or_default();
    assert!(
        accuracy
            .parse::<f64>()
            .is_ok_and(|accuracy| accuracy > 0.95),
        "{said}"
    );
}
