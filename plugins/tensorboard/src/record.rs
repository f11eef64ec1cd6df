//! The frame around each record of an event file: TensorFlow's TFRecord format.

use std::io::{self, Write};

/// Writes a record: its length in bytes as a little-endian u64 with its checksum, the bytes with
/// theirs.
pub(crate) fn write(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = (bytes.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&checksum(&length).to_le_bytes())?;
    out.write_all(bytes)?;
    out.write_all(&checksum(bytes).to_le_bytes())
}

/// CRC-32C, rotated and shifted so that the checksum of bytes with checksums in them is no special
/// case; the constants are those of the format.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}
