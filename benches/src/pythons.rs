//! The interpreters of the libraries of Python: one for all, or one for each.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use keros_bench_record::{Peer, suites_with};

/// The interpreter where the command line names none.
const PYTHON: &str = "KEROS_BENCH_PYTHON";

/// Imports modules and tells their versions.
const VERSIONS: &str = "\
import importlib, json, sys
modules = {name: importlib.import_module(name) for name in sys.argv[1:]}
print(json.dumps({name: getattr(m, '__version__', 'unknown') for name, m in modules.items()}))";

/// Which interpreter has which library.
#[derive(Debug)]
pub struct Pythons {
    default: PathBuf,
    of_peers: Vec<(String, PathBuf)>,
}

impl Default for Pythons {
    /// The variable `KEROS_BENCH_PYTHON`, else `python3`.
    fn default() -> Pythons {
        let default = std::env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
        Pythons {
            default: default.into(),
            of_peers: Vec::new(),
        }
    }
}

impl Pythons {
    /// Takes the value of an option `--python`: `PATH`, or `PEER=PATH` with a peer of any suite.
    ///
    /// # Errors
    /// A peer that no suite has.
    pub fn add(&mut self, value: OsString) -> Result<()> {
        match value.to_str().and_then(|text| text.split_once('=')) {
            // A path may have a `=` too.
            Some((peer, path)) if !peer.contains(['/', '\\']) => {
                suites_with(peer)?;
                self.of_peers.push((peer.to_owned(), path.into()));
            }
            _ => self.default = value.into(),
        }
        Ok(())
    }

    fn of(&self, peer: &Peer) -> &Path {
        let own = self.of_peers.iter().rfind(|(name, _)| name == peer.name);
        own.map_or(&self.default, |(_, path)| path)
    }

    /// A script of benches/peers for a peer.
    #[must_use]
    pub fn script(&self, peer: &Peer, script: &str) -> Command {
        let mut command = self.command(peer);
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        command.arg(peers.join(script));
        command
    }

    fn command(&self, peer: &Peer) -> Command {
        let mut command = Command::new(self.of(peer));
        if let Some(backend) = peer.backend {
            command.env("KERAS_BACKEND", backend);
        }
        // Compiled scripts would be left beside the sources.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// The peers that are at hand, and the versions of what they need; of the others standard error tells what is
    /// missing.
    #[must_use]
    #[allow(clippy::print_stderr, reason = "who is left out is no result")]
    pub fn at_hand(&self, peers: &[Peer]) -> (Vec<Peer>, BTreeMap<String, String>) {
        let (mut present, mut libraries) = (Vec::new(), BTreeMap::new());
        for peer in peers {
            match self.versions(peer) {
                Ok(versions) => {
                    libraries.extend(versions);
                    present.push(*peer);
                }
                Err(missing) => eprintln!("{} is left out: {missing:#}", peer.name),
            }
        }
        (present, libraries)
    }

    /// The versions of the modules of a peer.
    fn versions(&self, peer: &Peer) -> Result<BTreeMap<String, String>> {
        if peer.modules.is_empty() {
            return Ok(BTreeMap::new());
        }
        let python = self.of(peer).display();
        let mut command = self.command(peer);
        command.args(["-c", VERSIONS]).args(peer.modules);
        let output = command
            .output()
            .with_context(|| format!("`{python}` is no Python"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "`{python}` cannot import {}: {}",
            peer.modules.join(" and "),
            said.lines().last().unwrap_or_default()
        );
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(text.lines().last().unwrap_or_default())
            .with_context(|| format!("`{python}` tells no versions"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keros_bench_record::peers;

    #[test]
    fn a_peer_may_have_an_interpreter_of_its_own() {
        let mut pythons = Pythons::default();
        for value in ["a/python", "torch=b/python", "./odd=path/python"] {
            pythons.add(value.into()).unwrap();
        }
        let of = |name| {
            let peer = peers("train").iter().find(|peer| peer.name == name);
            pythons.of(peer.unwrap()).to_str().unwrap().to_owned()
        };
        assert_eq!(of("torch"), "b/python");
        assert_eq!(of("keras-tf"), "./odd=path/python");
        let error = pythons.add("trch=python".into()).unwrap_err().to_string();
        assert!(error.starts_with("unknown peer `trch` ("), "{error}");
    }

    #[test]
    fn who_is_not_at_hand_is_left_out() {
        let mut pythons = Pythons::default();
        pythons.add("no/such/python".into()).unwrap();
        let (present, libraries) = pythons.at_hand(peers("train"));
        // candle is a crate.
        assert_eq!(present, &peers("train")[..1]);
        assert!(libraries.is_empty());
    }
}
