//! The state of a callback as bytes: any serde type, in CBOR, which keeps every float exactly.

use crate::error::BoxError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A state as bytes, for [`Callback::save_state`](crate::Callback::save_state).
///
/// # Errors
/// When the type cannot be serialized.
pub fn to_bytes(state: &impl Serialize) -> Result<Vec<u8>, BoxError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(state, &mut bytes)?;
    Ok(bytes)
}

/// A state from its bytes, for [`Callback::load_state`](crate::Callback::load_state).
///
/// # Errors
/// When the bytes are not those of the type.
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BoxError> {
    Ok(ciborium::from_reader(bytes)?)
}
