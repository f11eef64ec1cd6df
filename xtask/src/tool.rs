//! Programs of others that the tasks run: whether they are there, and what installs them.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

/// A program that cargo installs.
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    package: &'static str,
    version: &'static str,
}

pub(crate) const DENY: Tool = Tool {
    program: "cargo-deny",
    package: "cargo-deny",
    version: "0.20.2",
};

pub(crate) const HACK: Tool = Tool {
    program: "cargo-hack",
    package: "cargo-hack",
    version: "0.6.46",
};

pub(crate) const SEMVER: Tool = Tool {
    program: "cargo-semver-checks",
    package: "cargo-semver-checks",
    version: "0.51.0",
};

pub(crate) const TYPOS: Tool = Tool {
    program: "typos",
    package: "typos-cli",
    version: "1.49.0",
};

impl Tool {
    /// The command that installs the version we know to work.
    pub(crate) fn install(&self) -> String {
        format!("cargo install --locked {}@{}", self.package, self.version)
    }

    /// Fails with that command where the program is missing. Another version than ours is taken.
    pub(crate) fn needed(&self) -> Result<()> {
        ensure!(
            is_there(self.program),
            "{} is not installed; `{}` installs it",
            self.program,
            self.install()
        );
        Ok(())
    }
}

/// Whether a program of this name answers.
pub(crate) fn is_there(program: &str) -> bool {
    let mut version = Command::new(program);
    // As cargo calls its own.
    version
        .args(program.strip_prefix("cargo-"))
        .arg("--version");
    let version = version.stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::TYPOS;

    #[test]
    fn ci_installs_the_same_version() {
        let script = include_str!("../../.ci/run");
        let pinned = format!("typos=={}", TYPOS.version);
        assert!(script.contains(&pinned), "no {pinned} in .ci/run");
    }
}
