//! Shared parts of the bench suites.
//!
//! A suite is a program in `benches/` that makes a [`Suite`], gives it cases and [shows](show) the
//! results. A case has [`Sides`]: keros first, then what it is compared with in the same run, a
//! named peer or a limit. Criterion decides how often a case is measured, prints its estimates and
//! keeps them from run to run (they are of keros alone); the table shows the ratios, for which each
//! round times all sides one after the other.
//!
//! ```text
//! cargo xtask bench ops                       all cases
//! cargo xtask bench ops -- conv2d --quick     some, not so carefully
//! cargo xtask bench train --model mlp --against keras-tf,torch
//!                                             whole trainings beside those of other libraries
//! cargo xtask bench augment --against cv2,keras
//!                                             images per second beside other libraries
//! cargo xtask bench all --compare NAME        everything, beside a record in benches/recorded
//! ```

mod contest;
mod memory;
mod pythons;
mod read_logs;
mod results;
mod rounds;
mod suite;
mod threads;
mod values;

pub use contest::{Contest, Rates, rate};
pub use memory::peak_kb;
pub use pythons::Pythons;
pub use read_logs::ReadLogs;
pub use results::{hand_over, show};
pub use rounds::{Figure, Sides, timed};
pub use suite::{Suite, Times};
pub use threads::on_threads;
pub use values::{bytes, floats, labels};
