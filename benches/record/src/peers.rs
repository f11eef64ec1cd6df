//! The libraries that the suites run in turn with keros, and what each needs.

use anyhow::{Context as _, Result};

/// A library that does the same work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peer {
    /// Its name, which its script in benches/peers takes too.
    pub name: &'static str,
    /// The modules of Python that it needs; none if it is a crate.
    pub modules: &'static [&'static str],
    /// What computes for Keras (`KERAS_BACKEND`).
    pub backend: Option<&'static str>,
}

const fn peer(name: &'static str, modules: &'static [&'static str]) -> Peer {
    Peer {
        name,
        modules,
        backend: None,
    }
}

const fn keras(
    name: &'static str,
    modules: &'static [&'static str],
    backend: &'static str,
) -> Peer {
    Peer {
        name,
        modules,
        backend: Some(backend),
    }
}

const PEERS: [(&str, &[Peer]); 4] = [
    (
        "train",
        &[
            peer("candle", &[]),
            keras("keras-tf", &["keras", "tensorflow"], "tensorflow"),
            keras("keras-jax", &["keras", "jax"], "jax"),
            peer("torch", &["torch", "numpy"]),
            peer("torch-compiled", &["torch", "numpy"]),
        ],
    ),
    (
        "augment",
        &[
            peer("cv2", &["cv2", "numpy"]),
            peer("keras", &["keras_preprocessing", "scipy", "numpy"]),
            peer("albumentations", &["albumentations", "cv2", "numpy"]),
            peer("torchvision", &["torch", "torchvision"]),
        ],
    ),
    (
        "decode",
        &[
            peer("PIL", &["PIL", "numpy"]),
            peer("PIL-draft", &["PIL", "numpy"]),
            peer("cv2", &["cv2"]),
            peer("torchvision", &["torch", "torchvision"]),
        ],
    ),
    (
        "prefetch",
        &[
            keras("keras", &["keras", "scipy", "numpy"], "numpy"),
            peer("torchvision", &["torch", "torchvision", "numpy"]),
        ],
    ),
];

/// The peers of a suite.
#[must_use]
pub fn peers(suite: &str) -> &'static [Peer] {
    let found = PEERS.iter().find(|(name, _)| *name == suite);
    found.map_or(&[], |(_, peers)| peers)
}

/// The peers of a suite with these names, separated by commas.
///
/// # Errors
/// A name that the suite does not know.
pub fn find_peers(suite: &str, names: &str) -> Result<Vec<Peer>> {
    let find = |name| {
        let found = peers(suite).iter().find(|peer| peer.name == name);
        found.copied().with_context(|| unknown(name, peers(suite)))
    };
    names.split(',').map(find).collect()
}

/// The suites that know one of these names, separated by commas, each with the names it knows.
///
/// # Errors
/// A name that no suite knows.
pub fn suites_with(names: &str) -> Result<Vec<(&'static str, String)>> {
    for name in names.split(',') {
        let all: Vec<Peer> = PEERS
            .iter()
            .flat_map(|(_, peers)| peers.iter().copied())
            .collect();
        let known = all.iter().any(|peer| peer.name == name);
        known.then_some(()).with_context(|| unknown(name, &all))?;
    }
    let known = PEERS.iter().map(|(suite, peers)| {
        let known = names
            .split(',')
            .filter(|name| peers.iter().any(|peer| peer.name == *name));
        (*suite, known.collect::<Vec<_>>().join(","))
    });
    Ok(known.filter(|(_, names)| !names.is_empty()).collect())
}

fn unknown(name: &str, peers: &[Peer]) -> String {
    let mut names: Vec<&str> = peers.iter().map(|peer| peer.name).collect();
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [] => "this suite runs beside no other library".to_owned(),
        names => format!(
            "unknown peer `{name}` (expected one of {})",
            names.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_suite_gets_the_peers_it_knows() {
        let suites = suites_with("torchvision,torch,cv2").unwrap();
        let suites: Vec<_> = suites
            .iter()
            .map(|(suite, names)| (*suite, names.as_str()))
            .collect();
        let expected = [
            ("train", "torch"),
            ("augment", "torchvision,cv2"),
            ("decode", "torchvision,cv2"),
            ("prefetch", "torchvision"),
        ];
        assert_eq!(suites, expected);
    }

    #[test]
    fn an_unknown_peer_is_named_beside_those_there_are() {
        let error = find_peers("prefetch", "keras,torch")
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "unknown peer `torch` (expected one of keras, torchvision)"
        );
        let error = suites_with("torch,trch").unwrap_err().to_string();
        assert!(
            error.starts_with("unknown peer `trch` (expected one of PIL, PIL-draft, "),
            "{error}"
        );
        assert!(
            find_peers("ops", "candle")
                .unwrap_err()
                .to_string()
                .contains("no other")
        );
    }
}
