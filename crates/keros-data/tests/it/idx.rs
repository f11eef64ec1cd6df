//! IDX files, good and bad.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use keros_data::idx::{load_folder, read_idx_u8};
use tempfile::TempDir;

/// A file of unsigned bytes with these axes, counting up.
fn idx(shape: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    for length in shape {
        bytes.extend(length.to_be_bytes());
    }
    bytes.extend((0..shape.iter().product()).map(|i: u32| i as u8));
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A folder with the four files: 3 training and 2 test images of 2×2.
fn folder(compressed: bool) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let files: [(&str, &[u32]); 4] = [
        ("train-images-idx3-ubyte", &[3, 2, 2]),
        ("train-labels-idx1-ubyte", &[3]),
        ("t10k-images-idx3-ubyte", &[2, 2, 2]),
        ("t10k-labels-idx1-ubyte", &[2]),
    ];
    for (name, shape) in files {
        if compressed {
            fs::write(dir.path().join(format!("{name}.gz")), gzip(&idx(shape))).unwrap();
        } else {
            fs::write(dir.path().join(name), idx(shape)).unwrap();
        }
    }
    dir
}

/// The message for a file with these bytes, without the file's name, which must be in it.
fn refusal(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    fs::write(&path, bytes).unwrap();
    without_path(read_idx_u8(&path).unwrap_err().to_string(), &path)
}

fn without_path(message: String, path: &Path) -> String {
    let prefix = format!("reading {}: ", path.display());
    assert!(message.starts_with(&prefix), "{message}");
    message[prefix.len()..].to_owned()
}

#[test]
fn folders_are_read_plain_and_compressed() {
    for compressed in [false, true] {
        let dir = folder(compressed);
        let data = load_folder(dir.path()).unwrap();
        assert_eq!(data.train_images.shape(), [3, 2, 2, 1]);
        assert_eq!(
            data.train_images.as_slice::<u8>().unwrap(),
            (0..12).collect::<Vec<u8>>()
        );
        assert_eq!(data.train_labels.as_slice::<u8>().unwrap(), [0, 1, 2]);
        assert_eq!(
            (data.test_images.shape(), data.test_labels.shape()),
            (&[2, 2, 2, 1][..], &[2][..])
        );
    }
}

#[test]
fn any_rank_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    for shape in [&[5][..], &[2, 3], &[2, 1, 3, 2]] {
        fs::write(&path, idx(shape)).unwrap();
        let array = read_idx_u8(&path).unwrap();
        assert_eq!(
            array.shape(),
            shape
                .iter()
                .map(|length| *length as usize)
                .collect::<Vec<_>>()
        );
    }
}

#[test]
fn every_truncation_is_told() {
    let whole = idx(&[3, 4, 5]);
    for len in 0..whole.len() {
        let message = refusal(&whole[..len]);
        let expected = match len {
            0..4 => format!(
                "the file ends within the magic number (expected 4 bytes, found {len} bytes)"
            ),
            4..16 => {
                format!("the file ends within the header (expected 16 bytes, found {len} bytes)")
            }
            _ => format!(
                "the file ends within the data (expected 60 bytes, found {} bytes)",
                len - 16
            ),
        };
        assert_eq!(message, expected);
        // Compressed, the data may be whole gzip of a truncated file, or a truncated gzip of a
        // whole file.
        if len >= 2 {
            assert_eq!(refusal(&gzip(&whole[..len])), expected);
        }
    }
    let compressed = gzip(&whole);
    for len in 2..compressed.len() {
        refusal(&compressed[..len]);
    }
}

#[test]
fn bytes_too_many_are_told() {
    let mut bytes = idx(&[2, 2]);
    bytes.push(0);
    let message = "bytes follow the data (expected 4 bytes of data, found more)";
    assert_eq!(refusal(&bytes), message);
    assert_eq!(refusal(&gzip(&bytes)), message);
    let mut garbage = gzip(&idx(&[2, 2]));
    garbage.extend(b"garbage");
    refusal(&garbage);
}

#[test]
fn corrupt_compression_is_told() {
    let whole = gzip(&idx(&[20, 20]));
    for position in [10, whole.len() / 2, whole.len() - 6] {
        let mut corrupt = whole.clone();
        corrupt[position] ^= 0x55;
        refusal(&corrupt);
    }
}

#[test]
fn wrong_headers_are_told() {
    assert_eq!(
        refusal(b"\x89PNG\r\n"),
        "wrong magic number, not an IDX file (expected two zero bytes, found 0x89 0x50)"
    );
    assert_eq!(
        refusal(&[0, 0, 0x0d, 1, 0, 0, 0, 1, 0, 0, 0, 0]),
        "wrong element type (expected 0x08, unsigned bytes, found 0x0d, f32)"
    );
    assert_eq!(
        refusal(&[0, 0, 8, 0]),
        "wrong number of axes (expected at least 1, found 0)"
    );
    assert_eq!(
        refusal(&idx(&[3, 0])),
        "an axis is empty (expected a length of at least 1, found 0 for axis 1)"
    );
}

#[test]
fn hostile_headers_take_no_memory() {
    let mut hostile = vec![0, 0, 8, 2];
    hostile.extend([0xff; 8]);
    assert!(refusal(&hostile).starts_with("the shape is too large"));
    // 2^62 bytes announced, three there.
    let mut hostile = vec![0, 0, 8, 2, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff];
    hostile.extend([1, 2, 3]);
    assert_eq!(
        refusal(&hostile),
        "the file ends within the data (expected 4611686014132420609 bytes, found 3 bytes)"
    );
    let mut hostile = vec![0, 0, 8, 255];
    hostile.extend([0xff; 4 * 255]);
    assert!(refusal(&hostile).starts_with("the shape is too large"));
}

#[test]
fn folders_with_files_that_do_not_fit_are_refused() {
    let check = |name: &str, bytes: Option<Vec<u8>>, expected: &str| {
        let dir = folder(false);
        let path: PathBuf = dir.path().join(name);
        match bytes {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let message = without_path(load_folder(dir.path()).unwrap_err().to_string(), &path);
        assert!(message.starts_with(expected), "{message}");
    };
    check(
        "train-labels-idx1-ubyte",
        None,
        "there is no such file (expected train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz, found neither)",
    );
    check(
        "t10k-labels-idx1-ubyte",
        Some(idx(&[3])),
        "the number of labels is not that of the images (expected 2, found 3)",
    );
    check(
        "train-images-idx3-ubyte",
        Some(idx(&[3, 4])),
        "wrong number of axes (expected 3, found 2)",
    );
    check(
        "train-labels-idx1-ubyte",
        Some(idx(&[3, 1])),
        "wrong number of axes (expected 1, found 2)",
    );
    check(
        "t10k-images-idx3-ubyte",
        Some(idx(&[2, 2, 3])),
        "the images differ in size from the training images (expected [2, 2], found [2, 3])",
    );
}
