//! The values of weights in serde's formats: in one for machines as bytes, the low one of each value first, which takes
//! less than half of the room of single numbers; in one for people as numbers.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::{ByteBuf, Bytes};
use std::borrow::Cow;

struct Values<'a>(Cow<'a, [f32]>);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return self.0.serialize(serializer);
        }
        let bytes: Vec<u8> = self
            .0
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        Bytes::new(&bytes).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Values<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Vec::deserialize(deserializer).map(|values| Values(values.into()));
        }
        let bytes = ByteBuf::deserialize(deserializer)?;
        let (values, rest) = bytes.as_chunks();
        if !rest.is_empty() {
            return Err(D::Error::invalid_length(
                bytes.len(),
                &"four bytes for each value",
            ));
        }
        Ok(Values(
            values
                .iter()
                .map(|value| f32::from_le_bytes(*value))
                .collect(),
        ))
    }
}

pub(crate) fn serialize<S: Serializer>(
    params: &[(String, Vec<f32>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let named = params.iter();
    serializer.collect_seq(named.map(|(name, values)| (name, Values(values.into()))))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(String, Vec<f32>)>, D::Error> {
    let params: Vec<(String, Values<'_>)> = Vec::deserialize(deserializer)?;
    let named = params.into_iter();
    Ok(named
        .map(|(name, values)| (name, values.0.into_owned()))
        .collect())
}
