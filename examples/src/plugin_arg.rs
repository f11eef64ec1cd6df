//! The form `PATH[=JSON]` in which a plugin is named on the command line.

use std::path::PathBuf;
use std::str::FromStr;

/// A plugin to load and its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginArg {
    /// The dynamic library.
    pub path: PathBuf,
    /// Its configuration as JSON; empty for none.
    pub config: String,
}

impl FromStr for PluginArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // JSON configurations are objects, so a path may hold `=` as long as no `{` follows it.
        let (path, config) = match text.split_once("={") {
            Some((path, rest)) => (path, format!("{{{rest}")),
            None => (text, String::new()),
        };
        if path.is_empty() {
            return Err("expected PATH or PATH={JSON}, found no path".to_owned());
        }
        Ok(PluginArg {
            path: path.into(),
            config,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_json_are_parted_at_the_first_brace() {
        let plain: PluginArg = "a=b/libx.so".parse().unwrap();
        assert_eq!(
            (plain.path, plain.config.as_str()),
            ("a=b/libx.so".into(), "")
        );
        let with: PluginArg = r#"libx.so={"path": "a={b}.csv"}"#.parse().unwrap();
        assert_eq!(with.path, PathBuf::from("libx.so"));
        assert_eq!(with.config, r#"{"path": "a={b}.csv"}"#);
        assert!(r#"={"a": 1}"#.parse::<PluginArg>().is_err());
    }
}
