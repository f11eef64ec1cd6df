//! The messages between this process and its workers: small, through pipes, each with its length
//! before it.

use std::ffi::OsString;
use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::arrays::Parts;

/// The argument with which a worker is started.
pub(super) const ARGUMENT: &str = "--keros-worker";
/// Both sides have to be of one version.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Places for batches that a worker has.
pub(super) const PLACES: usize = 2;
/// No message is larger; a number above it is no message.
const MAX_BYTES: u32 = 1 << 24;

/// What a worker is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// The first message: make the sequence.
    Start {
        name: String,
        description: OsString,
        status: OsString,
        places: [OsString; PLACES],
    },
    /// Make a batch and put it into a place.
    Batch {
        epoch: u64,
        index: usize,
        place: usize,
    },
}

/// What a worker tells.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The first message, before anything is read.
    Hello { version: String },
    /// The sequence was made.
    Ready,
    /// The batch is in its place; so many samples were passed over in it.
    Batch(Parts, u64),
    /// The sequence or the batch could not be made.
    Failed(String),
    /// Code of the sequence panicked.
    Panicked(String),
}

pub(super) fn send(mut pipe: impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    ciborium::into_writer(message, &mut bytes).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
    if length > MAX_BYTES {
        return Err(io::Error::other("the message is too large"));
    }
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    pipe.write_all(&bytes)?;
    pipe.flush()
}

pub(super) fn receive<T: DeserializeOwned>(mut pipe: impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    pipe.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MAX_BYTES {
        return Err(io::Error::other("what came is no message"));
    }
    let mut bytes = vec![0; length as usize];
    pipe.read_exact(&mut bytes)?;
    ciborium::from_reader(bytes.as_slice()).map_err(io::Error::other)
}
