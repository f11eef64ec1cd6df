//! Who trains: keros, candle, or a library that is reached through its Python.

use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context as _, Error, Result};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Side {
    Keros,
    Candle,
    KerasTf,
    KerasJax,
    Torch,
}

impl Side {
    const ALL: [Side; 5] = [
        Side::Keros,
        Side::Candle,
        Side::KerasTf,
        Side::KerasJax,
        Side::Torch,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Keros => "keros",
            Side::Candle => "candle",
            Side::KerasTf => "keras-tf",
            Side::KerasJax => "keras-jax",
            Side::Torch => "torch",
        }
    }

    /// The script in benches/peers, the backend of Keras, and the modules that both need; `None` for
    /// what is trained by this program.
    fn python(self) -> Option<(&'static str, &'static str, [&'static str; 2])> {
        match self {
            Side::Keros | Side::Candle => None,
            Side::KerasTf => Some(("train_keras.py", "tensorflow", ["keras", "tensorflow"])),
            Side::KerasJax => Some(("train_keras.py", "jax", ["keras", "jax"])),
            Side::Torch => Some(("train_torch.py", "", ["numpy", "torch"])),
        }
    }

    /// The program that trains, without the arguments that say what.
    pub(crate) fn command(self, python: &Path) -> Result<Command> {
        let Some((script, backend, _)) = self.python() else {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["--json", "--side", self.name()]);
            return Ok(command);
        };
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let mut command = Command::new(python);
        command
            .arg(peers.join(script))
            .env("KERAS_BACKEND", backend)
            // Compiled scripts would be left beside the sources.
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    }

    /// What this side needs and this machine does not have.
    pub(crate) fn missing(self, python: &Path) -> Option<String> {
        const FIND: &str = "import importlib.util as u, sys; \
            print(*(m for m in sys.argv[1:] if not u.find_spec(m)))";
        let (_, _, modules) = self.python()?;
        let found = Command::new(python)
            .args(["-c", FIND])
            .args(modules)
            .stderr(Stdio::null())
            .output();
        let python = python.display();
        match found {
            Ok(output) if output.status.success() => {
                let modules = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                (!modules.is_empty()).then(|| format!("`{python}` has no {modules}"))
            }
            _ => Some(format!("`{python}` is no Python")),
        }
    }
}

impl FromStr for Side {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Side::ALL.into_iter().find(|side| side.name() == name);
        found.with_context(|| {
            let names = Side::ALL.map(Side::name).join(", ");
            format!("nobody is called `{name}`; there are: {names}")
        })
    }
}
