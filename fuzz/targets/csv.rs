//! Any bytes are a table, from which a flow can be set up, or an error that names the file.

use keros_data::{ClassMode, ImageDataGenerator, Table, TableOptions};

/// Panics if the promise is broken.
pub(crate) fn target(bytes: &[u8]) {
    let table = match Table::from_csv_reader("fuzz.csv", bytes) {
        Ok(table) => table,
        Err(error) => return assert!(error.to_string().contains("fuzz.csv")),
    };
    assert!(table.rows().all(|row| row.len() == table.columns().len()));
    let column = |place: usize| table.columns().get(place).cloned().unwrap_or_default();
    let modes = [
        ClassMode::Categorical,
        ClassMode::Binary,
        ClassMode::Sparse,
        ClassMode::Raw,
        ClassMode::MultiOutput,
        ClassMode::None,
    ];
    let class_mode = modes[bytes.len() % modes.len()];
    let options = TableOptions {
        x_col: column(0),
        y_col: vec![column(1)],
        weight_col: (table.columns().len() > 2).then(|| column(2)),
        label_separator: (class_mode == ClassMode::Categorical).then_some(','),
        class_mode,
        target_size: (2, 2),
        // The names are not looked up.
        validate_filenames: false,
        ..TableOptions::default()
    };
    match ImageDataGenerator::new().flow_from_dataframe(&table, None, options) {
        Ok(flow) => assert!(!flow.filenames().is_empty() && flow.filenames().len() <= table.len()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
