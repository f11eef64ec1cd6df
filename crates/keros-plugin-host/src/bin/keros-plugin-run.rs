//! Runs a plugin file in this process and speaks about it in the wire format on stdin and stdout: the
//! helper of `keros_plugin_host::isolate`.

#![allow(clippy::print_stderr, reason = "a program talks to its user")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(plugin), None) => keros_plugin_host::run_plugin(plugin),
        _ => {
            eprintln!("usage: keros-plugin-run PLUGIN (started by a program that trains)");
            ExitCode::from(2)
        }
    }
}
