//! What the suites of benchmarks found, from the suite that measures to the record that is kept.
//!
//! A suite hands over its [`Results`]: cases, each with its sides, keros first. `cargo xtask bench` makes [`Run`]s of
//! them, with the commit and the versions, and a [`Record`] of the runs, with the machine. A record is a file of JSON
//! in `benches/recorded`; beside it lie its [page](Record::page) in Markdown and its [chart](chart::draw), which are
//! made from it.

mod case;
pub mod chart;
mod comparison;
mod machine;
mod page;
mod peers;
mod record;
mod table;

pub use case::{Better, Case, Quartiles, Results, Side};
pub use comparison::{Comparison, compare};
pub use machine::Machine;
pub use page::table;
pub use peers::{Peer, find_peers, peers, suites_with};
pub use record::{Record, Run, find, open};
pub use table::significant;
