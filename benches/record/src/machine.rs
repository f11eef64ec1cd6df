//! The machine: figures are those of one.

use std::fmt;
use std::fs;
use std::thread;

use serde::{Deserialize, Serialize};

/// What decides how fast the suites can run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Machine {
    /// The model of the processor.
    pub cpu: String,
    /// Processors that this program may use.
    pub cores: usize,
    /// Vector instructions, as Rust names them.
    pub features: Vec<String>,
    /// Memory, rounded; 0 where the system does not tell.
    pub memory_gib: u64,
    /// The operating system.
    pub os: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn this() -> Machine {
        let line = |path: &str, beginning: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(beginning));
            line.map(|rest| rest.trim_matches([' ', '\t', ':', '=', '"']).to_owned())
        };
        let memory_kib = line("/proc/meminfo", "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
        Machine {
            cpu: line("/proc/cpuinfo", "model name")
                .unwrap_or_else(|| format!("unknown {} processor", std::env::consts::ARCH)),
            cores: thread::available_parallelism().map_or(1, usize::from),
            features: features().into_iter().map(str::to_owned).collect(),
            memory_gib: memory_kib.map_or(0, |kib| (kib / f64::from(1 << 20)).round() as u64),
            os: line("/etc/os-release", "PRETTY_NAME")
                .unwrap_or_else(|| std::env::consts::OS.to_owned()),
        }
    }

    /// What differs from another machine, in words; empty if nothing does.
    #[must_use]
    pub fn differences(&self, other: &Machine) -> Vec<String> {
        let facts = |machine: &Machine| {
            [
                ("processor", machine.cpu.clone()),
                ("cores", machine.cores.to_string()),
                ("vector instructions", machine.features.join(" ")),
                ("memory", format!("{} GiB", machine.memory_gib)),
                ("system", machine.os.clone()),
            ]
        };
        let pairs = facts(self).into_iter().zip(facts(other));
        pairs
            .filter(|((_, ours), (_, others))| ours != others)
            .map(|((what, ours), (_, others))| format!("{what} {ours} instead of {others}"))
            .collect()
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} cores", self.cpu, self.cores)?;
        let vectors = [("avx512f", "AVX-512"), ("avx2", "AVX2"), ("neon", "NEON")];
        let has = |feature: &str| self.features.iter().any(|name| name == feature);
        if let Some((_, name)) = vectors.into_iter().find(|(feature, _)| has(feature)) {
            write!(f, " with {name}")?;
        }
        if self.memory_gib > 0 {
            write!(f, ", {} GiB", self.memory_gib)?;
        }
        write!(f, ", {}", self.os)
    }
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    macro_rules! found {
        ($($name:tt)*) => {
            [$(($name, std::is_x86_feature_detected!($name))),*]
        };
    }
    let features =
        found!("sse4.2" "avx" "avx2" "fma" "f16c" "avx512f" "avx512bw" "avx512vnni" "avx512bf16");
    let features = features.into_iter().filter(|(_, found)| *found);
    features.map(|(name, _)| name).collect()
}

/// NEON is a part of every 64-bit Arm processor; others are not asked.
#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    match cfg!(target_arch = "aarch64") {
        true => vec!["neon"],
        false => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_differs_by_what_is_named() {
        let ours = Machine {
            cpu: "A".to_owned(),
            cores: 2,
            features: vec!["avx2".to_owned(), "avx512f".to_owned()],
            memory_gib: 24,
            os: "Linux".to_owned(),
        };
        assert_eq!(ours.to_string(), "A, 2 cores with AVX-512, 24 GiB, Linux");
        let other = Machine {
            cores: 4,
            ..ours.clone()
        };
        assert_eq!(ours.differences(&other), ["cores 2 instead of 4"]);
        assert!(Machine::this().differences(&Machine::this()).is_empty());
    }
}
