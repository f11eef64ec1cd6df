//! Arrays in serde's formats: type, shape, and the elements as bytes in the order of this machine.

use std::borrow::Cow;
use std::fmt;

use bytemuck::Pod;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::worker::bytes_of;
use crate::{Array, Arrays, DType, Element};

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    dtype: DType,
    shape: Cow<'a, [usize]>,
    #[serde(borrow)]
    elements: Bytes<'a>,
}

/// Bytes that are read and written at once.
struct Bytes<'a>(Cow<'a, [u8]>);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut items: A,
            ) -> Result<Vec<u8>, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = items.next_element()? {
                    bytes.push(byte);
                }
                Ok(bytes)
            }
        }
        let bytes = deserializer.deserialize_byte_buf(Visit)?;
        Ok(Bytes(Cow::Owned(bytes)))
    }
}

impl Serialize for Array {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let array = self.to_standard_layout();
        let stored = Stored {
            dtype: array.dtype(),
            shape: array.shape().into(),
            elements: Bytes(bytes_of(&array).into()),
        };
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Array {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fn array<T: Element + Pod, E: Error>(shape: &[usize], bytes: &[u8]) -> Result<Array, E> {
            if !bytes.len().is_multiple_of(size_of::<T>()) {
                let expected = format!("elements of {} bytes", size_of::<T>());
                return Err(E::invalid_length(bytes.len(), &expected.as_str()));
            }
            Array::from_vec(shape, bytemuck::pod_collect_to_vec::<u8, T>(bytes)).map_err(E::custom)
        }
        let Stored {
            dtype,
            shape,
            elements: Bytes(bytes),
        } = Stored::deserialize(deserializer)?;
        match dtype {
            DType::U8 => Array::from_vec(&shape, bytes.into_owned()).map_err(D::Error::custom),
            DType::F32 => array::<f32, _>(&shape, &bytes),
            DType::I64 => array::<i64, _>(&shape, &bytes),
        }
    }
}

impl Serialize for Arrays {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Arrays {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs: Vec<(String, Array)> = Vec::deserialize(deserializer)?;
        Arrays::from_pairs(pairs).map_err(D::Error::custom)
    }
}
