//! IDX files, the format of MNIST and Fashion-MNIST, plain or compressed with gzip.
//!
//! A file is a magic number (two zero bytes, a type code, the rank), the length of every axis as a
//! big-endian 32-bit number, and the elements. Headers are not believed: no more memory is taken
//! than the file really has data for.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::error::Mismatch;
use crate::{Array, DataError};

/// The type code of unsigned bytes.
const U8: u8 = 0x08;

/// The data of a folder with the four standard files.
#[derive(Clone, Debug, PartialEq)]
pub struct IdxDataset {
    /// Images to train on: `u8`, `[N, H, W, 1]`, 0..=255.
    pub train_images: Array,
    /// Their classes: `u8`, `[N]`.
    pub train_labels: Array,
    /// Images to test with: `u8`, `[M, H, W, 1]`, 0..=255, of the same size.
    pub test_images: Array,
    /// Their classes: `u8`, `[M]`.
    pub test_labels: Array,
}

/// Reads the four files of MNIST, Fashion-MNIST and their relatives: `train-images-idx3-ubyte`,
/// `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`, each plain or (if
/// there is no plain one) with `.gz` at the end.
///
/// # Errors
/// What [`read_idx_u8`] refuses; images that are not of rank 3 or labels that are not of rank 1;
/// different numbers of images and labels; test images of another size than the training images.
/// The message names the file.
pub fn load_folder(dir: impl AsRef<Path>) -> Result<IdxDataset, DataError> {
    let dir = dir.as_ref();
    let (train_images, train_labels) = load_pair(dir, "train")?;
    let (test_images, test_labels) = load_pair(dir, "t10k")?;
    if test_images.shape()[1..] != train_images.shape()[1..] {
        return Err(format(
            &find(dir, "t10k-images-idx3-ubyte")?,
            "the images differ in size from the training images",
            format!("{:?}", &train_images.shape()[1..3]),
            format!("{:?}", &test_images.shape()[1..3]),
        ));
    }
    Ok(IdxDataset {
        train_images,
        train_labels,
        test_images,
        test_labels,
    })
}

/// Images as `[N, H, W, 1]` and labels as `[N]` of one half of a folder.
fn load_pair(dir: &Path, half: &str) -> Result<(Array, Array), DataError> {
    let images_path = find(dir, &format!("{half}-images-idx3-ubyte"))?;
    let labels_path = find(dir, &format!("{half}-labels-idx1-ubyte"))?;
    let (image_shape, images) = read(&images_path, Some(3))?;
    let (label_shape, labels) = read(&labels_path, Some(1))?;
    if label_shape[0] != image_shape[0] {
        return Err(format(
            &labels_path,
            "the number of labels is not that of the images",
            image_shape[0],
            label_shape[0],
        ));
    }
    let images = Array::from_vec(&[image_shape[0], image_shape[1], image_shape[2], 1], images)?;
    Ok((images, Array::from_vec(&label_shape, labels)?))
}

/// The file of that name, or the compressed one if only that exists.
fn find(dir: &Path, name: &str) -> Result<PathBuf, DataError> {
    let plain = dir.join(name);
    let compressed = dir.join(format!("{name}.gz"));
    [&plain, &compressed]
        .into_iter()
        .find(|path| path.exists())
        .cloned()
        .ok_or_else(|| {
            format(
                &plain,
                "there is no such file",
                format_args!("{name} or {name}.gz"),
                "neither",
            )
        })
}

/// Reads an IDX file of unsigned bytes, plain or gzip (told by its first bytes, not by its name).
///
/// # Shapes
/// The array has the rank and shape that the file states: images `[N, H, W]`, labels `[N]`.
///
/// # Errors
/// A missing or unreadable file; bad gzip data; a wrong magic number, element type or rank 0; an
/// axis of length 0; data that are shorter or longer than the header says. The message names the
/// file, what was expected and what was found.
pub fn read_idx_u8(path: impl AsRef<Path>) -> Result<Array, DataError> {
    let (shape, elements) = read(path.as_ref(), None)?;
    Array::from_vec(&shape, elements)
}

/// Shape and elements of a file, whose rank must be the given one if any.
fn read(path: &Path, rank: Option<u8>) -> Result<(Vec<usize>, Vec<u8>), DataError> {
    let io = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let mut magic = [0; 2];
    let gzip = read_up_to(&mut file, &mut magic).map_err(io)? == 2 && magic == [0x1f, 0x8b];
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    if gzip {
        parse(path, &mut MultiGzDecoder::new(file), rank)
    } else {
        parse(path, &mut file, rank)
    }
}

fn parse(
    path: &Path,
    reader: &mut dyn Read,
    rank: Option<u8>,
) -> Result<(Vec<usize>, Vec<u8>), DataError> {
    let io = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    let truncated = |what, expected: u64, found: u64| {
        Err(format(
            path,
            what,
            format!("{expected} bytes"),
            format!("{found} bytes"),
        ))
    };

    let mut magic = [0; 4];
    let found = read_up_to(reader, &mut magic).map_err(io)?;
    if found < magic.len() {
        return truncated("the file ends within the magic number", 4, found as u64);
    }
    let [zero, zero_too, dtype, file_rank] = magic;
    if zero != 0 || zero_too != 0 {
        return Err(format(
            path,
            "wrong magic number, not an IDX file",
            "two zero bytes",
            format!("{zero:#04x} {zero_too:#04x}"),
        ));
    }
    if dtype != U8 {
        return Err(format(
            path,
            "wrong element type",
            "0x08, unsigned bytes",
            format!("{dtype:#04x}, {}", dtype_name(dtype)),
        ));
    }
    match rank {
        Some(rank) if file_rank != rank => {
            return Err(format(path, "wrong number of axes", rank, file_rank));
        }
        None if file_rank == 0 => {
            return Err(format(path, "wrong number of axes", "at least 1", 0));
        }
        _ => {}
    }

    let mut header = vec![0; 4 * usize::from(file_rank)];
    let found = read_up_to(reader, &mut header).map_err(io)?;
    if found < header.len() {
        return truncated(
            "the file ends within the header",
            4 + header.len() as u64,
            4 + found as u64,
        );
    }
    let mut shape = Vec::with_capacity(usize::from(file_rank));
    let mut expected = Some(1_u64);
    for (axis, length) in header.chunks_exact(4).enumerate() {
        let length = length
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte));
        if length == 0 {
            return Err(format(
                path,
                "an axis is empty",
                "a length of at least 1",
                format!("0 for axis {axis}"),
            ));
        }
        expected = expected.and_then(|expected| expected.checked_mul(length));
        shape.push(length as usize);
    }
    let Some(expected) = expected.filter(|expected| *expected < isize::MAX as u64) else {
        return Err(format(
            path,
            "the shape is too large",
            "a product below 2^63",
            format!("{shape:?}"),
        ));
    };

    // One byte more than expected shows that there is more. `read_to_end` grows with what is really
    // there.
    let mut elements = Vec::new();
    reader
        .take(expected + 1)
        .read_to_end(&mut elements)
        .map_err(io)?;
    let found = elements.len() as u64;
    if found < expected {
        return truncated("the file ends within the data", expected, found);
    }
    if found > expected {
        return Err(format(
            path,
            "bytes follow the data",
            format!("{expected} bytes of data"),
            "more",
        ));
    }
    elements.shrink_to_fit();
    Ok((shape, elements))
}

/// Fills the buffer as far as the data go; the number of bytes read.
fn read_up_to(reader: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn dtype_name(code: u8) -> &'static str {
    match code {
        0x09 => "signed bytes",
        0x0b => "16-bit integers",
        0x0c => "32-bit integers",
        0x0d => "f32",
        0x0e => "f64",
        _ => "unknown",
    }
}

fn format(
    path: &Path,
    what: &'static str,
    expected: impl ToString,
    found: impl ToString,
) -> DataError {
    DataError::Format {
        path: path.to_owned(),
        what,
        mismatch: Mismatch::boxed(expected, found),
    }
}
