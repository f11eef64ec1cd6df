//! The program learns.

use std::process::Command;

#[test]
fn every_bar_is_told_in_the_end() {
    let output = Command::new(env!("CARGO_BIN_EXE_candle-loop"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    assert!(said.trim_end().ends_with("accuracy 1"), "{said}");
}
