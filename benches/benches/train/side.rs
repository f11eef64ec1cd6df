//! Who trains in this program.

use std::process::Command;
use std::str::FromStr;

use anyhow::{Error, Result, bail};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Side {
    Keros,
    Candle,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Keros => "keros",
            Side::Candle => "candle",
        }
    }

    /// This program for one training, without the arguments that say which.
    pub(crate) fn command(self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--json", "--side", self.name()]);
        Ok(command)
    }
}

impl FromStr for Side {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "keros" => Ok(Side::Keros),
            "candle" => Ok(Side::Candle),
            _ => bail!("this program does not train with `{name}`; expected keros or candle"),
        }
    }
}
