//! Whether a JPEG file is all there: decoders fill what is missing with gray and say nothing.

/// Whether the marker that ends the picture is in the file. Walks from marker to marker, so that the
/// end of a thumbnail inside is not taken for it; bytes after the end do no harm.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    const END_OF_IMAGE: u8 = 0xd9;
    let mut rest = bytes;
    let mut in_scan = false;
    loop {
        let Some(at) = rest.iter().position(|byte| *byte == 0xff) else {
            return false;
        };
        rest = rest.get(at + 1..).unwrap_or_default();
        match rest.first() {
            None => return false,
            Some(&END_OF_IMAGE) => return true,
            // Fill bytes; a stuffed zero; markers without a length.
            Some(0xff) => continue,
            Some(0x00 | 0x01 | 0xd0..=0xd8) => rest = rest.get(1..).unwrap_or_default(),
            // Damage in the compressed data is the decoder's to judge.
            Some(0x02..=0xbf) if in_scan => {}
            Some(marker) => {
                in_scan = *marker == START_OF_SCAN;
                let (Some(high), Some(low)) = (rest.get(1), rest.get(2)) else {
                    return false;
                };
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                rest = rest.get(1 + length..).unwrap_or_default();
            }
        }
    }
}
