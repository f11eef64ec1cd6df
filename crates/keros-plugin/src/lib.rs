//! SDK for authors of keros callback plugins: one trait, one export line.
