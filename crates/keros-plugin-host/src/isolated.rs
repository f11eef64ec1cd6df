//! Plugins in processes of their own: a crash or a hang costs the training nothing but a message.
//!
//! The process speaks the wire format that `docs/wire-format.md` describes: one JSON object a line,
//! on its stdin and stdout. A plugin file is run by a helper, any other program speaks for itself.

mod answers;
mod callback;
mod error;
mod lines;
mod process;
mod remote;
mod runner;
mod wanted;
mod wire;

pub use callback::IsolatedCallback;
pub use error::IsolateError;
pub use runner::{run_if_asked, run_plugin};
pub use wire::{WIRE_MAJOR, WIRE_MINOR};

use std::env;
use std::ffi::OsString;
use std::path::{self, Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How a plugin in a process of its own is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsolateOptions {
    /// How long the process may take from its start to its hello.
    pub start_limit: Duration,
    /// How long it may take for an event, or to tell or load its state; what it waits for the training
    /// is not counted.
    pub event_limit: Duration,
    /// How long it may take to end when it is told to.
    pub end_limit: Duration,
    /// The program that runs a plugin file, called with the path of the file as its argument. Unless
    /// given: what the variable `KEROS_PLUGIN_RUN` names; else this program itself, if it has called
    /// [`run_if_asked`]; else `keros-plugin-run` in the folder of this program.
    pub runner: Option<PathBuf>,
}

impl Default for IsolateOptions {
    /// 10 seconds to start, 30 for an event, 5 to end.
    fn default() -> IsolateOptions {
        IsolateOptions {
            start_limit: Duration::from_secs(10),
            event_limit: Duration::from_secs(30),
            end_limit: Duration::from_secs(5),
            runner: None,
        }
    }
}

/// Loads the plugin at `path` in a process of its own and makes one instance of it, configured by a
/// JSON text; the empty text stands for `{}`. It is the callback that [`load`](crate::load) gives, at
/// the cost of a message there and back per event.
///
/// # Errors
/// When there is no program to run it in, when that does not start in time, or for the reasons of
/// [`load`](crate::load), in its words.
pub fn isolate(
    path: impl AsRef<Path>,
    config_json: &str,
    options: &IsolateOptions,
) -> Result<IsolatedCallback, IsolateError> {
    let path = path.as_ref();
    // The helper has the same current directory; an empty path is refused there.
    let plugin = path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut command = runner(path, options)?;
    let program = command.get_program().to_string_lossy().into_owned();
    command.arg(plugin);
    let refused = |text| IsolateError::Plugin { text };
    IsolatedCallback::start(command, &program, config_json, options, refused)
}

/// Starts a program that speaks the wire format, in any language. The command's stdin, stdout and
/// stderr are set here. On Unix the process has a process group of its own.
///
/// # Errors
/// When the program cannot be started, does not say hello in time, or refuses the configuration.
pub fn external(
    command: Command,
    config_json: &str,
    options: &IsolateOptions,
) -> Result<IsolatedCallback, IsolateError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let refused = |text| IsolateError::Refused {
        program: program.clone(),
        text,
    };
    IsolatedCallback::start(command, &program, config_json, options, refused)
}

/// What runs plugin files, without the file.
fn runner(plugin: &Path, options: &IsolateOptions) -> Result<Command, IsolateError> {
    let named = env::var_os("KEROS_PLUGIN_RUN").filter(|name| !name.is_empty());
    if let Some(program) = options.runner.clone().map(OsString::from).or(named) {
        return Ok(Command::new(program));
    }
    let own = env::current_exe();
    if runner::can_run_again() {
        let mut command = again(own.as_deref().ok());
        command.arg(runner::ARGUMENT);
        return Ok(command);
    }
    let name = format!("keros-plugin-run{}", env::consts::EXE_SUFFIX);
    let beside = own.unwrap_or_default().with_file_name(name);
    if beside.is_file() {
        return Ok(Command::new(beside));
    }
    Err(IsolateError::NoRunner {
        plugin: plugin.to_owned(),
        beside,
    })
}

/// This program. On Linux also if its file has been replaced by a newer one since it was started.
#[cfg(target_os = "linux")]
fn again(own: Option<&Path>) -> Command {
    use std::os::unix::process::CommandExt;

    let mut command = Command::new("/proc/self/exe");
    command.arg0(own.unwrap_or(Path::new("this program")));
    command
}

/// This program.
#[cfg(not(target_os = "linux"))]
fn again(own: Option<&Path>) -> Command {
    Command::new(own.unwrap_or(Path::new("this program")))
}
