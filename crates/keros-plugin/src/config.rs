//! From the JSON text of the user to the configuration type of the author.

use crate::error::ConfigError;
use serde_core::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde_core::{Deserialize, Deserializer};
use std::fmt;

/// The configuration of a plugin that has none: any field is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoConfig {}

// By hand, so that a plugin builds without macros it does not need.
impl<'de> Deserialize<'de> for NoConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NoConfig, D::Error> {
        struct NoFields;
        impl<'de> Visitor<'de> for NoFields {
            type Value = NoConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object without fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<NoConfig, A::Error> {
                match fields.next_key::<String>()? {
                    Some(field) => Err(Error::unknown_field(&field, &[])),
                    None => Ok(NoConfig {}),
                }
            }
        }
        deserializer.deserialize_map(NoFields)
    }
}

/// Reads a configuration; no text stands for `{}`.
pub(crate) fn parse<C: DeserializeOwned>(json: &str) -> Result<C, ConfigError> {
    let json = if json.trim().is_empty() { "{}" } else { json };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let config = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let field = error.path().to_string();
        let source = error.into_inner();
        // Where the text is no JSON, the path leads nowhere.
        if source.is_data() && field != "." {
            ConfigError::Field { field, source }
        } else {
            ConfigError::Whole(source)
        }
    })?;
    deserializer.end().map_err(ConfigError::Whole)?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(default)]
        number: u8,
        #[serde(default)]
        inner: Vec<Inner>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        flag: bool,
    }

    fn check_refused(json: &str, expected: &str) {
        let error = parse::<Outer>(json).expect_err(json);
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn no_text_is_an_empty_object() {
        for json in ["", " \n", "{}"] {
            let empty = Outer {
                number: 0,
                inner: Vec::new(),
            };
            assert_eq!(parse::<Outer>(json).expect(json), empty);
            assert_eq!(parse::<NoConfig>(json).expect(json), NoConfig {});
        }
    }

    #[test]
    fn an_error_names_the_field() {
        check_refused(
            r#"{"number": "three"}"#,
            "config field `number`: invalid type: string \"three\", expected u8 at line 1 column 18",
        );
        check_refused(
            r#"{"inner": [{"flag": true}, {"flag": 3}]}"#,
            "config field `inner[1].flag`: invalid type: integer `3`, expected a boolean at line 1 column 37",
        );
        check_refused(
            r#"{"inner": [{}]}"#,
            "config field `inner[0]`: missing field `flag` at line 1 column 13",
        );
        check_refused(
            r#"{"nubmer": 3}"#,
            "config field `nubmer`: unknown field `nubmer`, expected `number` or `inner` at line 1 column 9",
        );
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        check_refused(
            "{",
            "config: EOF while parsing an object at line 1 column 1",
        );
        check_refused("{} x", "config: trailing characters at line 1 column 4");
        assert!(parse::<NoConfig>(r#"{"a": 1}"#).is_err());
    }
}
