//! The pixels that recordings were made of.

/// Bytes of a linear congruential generator.
pub(crate) fn noise(values: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = (state * 1_103_515_245 + 12345) & 0x7fff_ffff;
        (state >> 16) as u8
    };
    (0..values).map(next).collect()
}
