//! PNG files that lack their last bytes: Pillow reads a picture that is all there.

use std::borrow::Cow;

const SIGNATURE: usize = 8;
const IDAT: [u8; 4] = *b"IDAT";
const IEND: [u8; 4] = *b"IEND";

/// The chunk that ends every PNG: no data, its name, its checksum.
const END: [u8; 12] = *b"\0\0\0\0IEND\xae\x42\x60\x82";

/// The file, with the chunk that ends it where it stops between its pixels and there. Whether these
/// are all pixels is the decoder's to judge.
pub(crate) fn with_end(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut at = SIGNATURE;
    let mut has_pixels = false;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let (name, chunk) = match rest.first_chunk() {
            Some(&[a, b, c, d, e, f, g, h]) => {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                // Besides the data there are their length, a name and a checksum.
                (Some([e, f, g, h]), rest.get(..length.saturating_add(12)))
            }
            None => (None, None),
        };
        match (name, chunk) {
            (Some(IEND), Some(_)) | (Some(IDAT), None) => return Cow::Borrowed(bytes),
            (name, Some(chunk)) => {
                has_pixels |= name == Some(IDAT);
                at += chunk.len();
            }
            (_, None) if has_pixels => return Cow::Owned([&bytes[..at], &END].concat()),
            (_, None) => return Cow::Borrowed(bytes),
        }
    }
}
