//! Parameters in numpy's files: those numpy wrote, our own, and hostile ones.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use keros_tensor::{DType, Device, Params, Tensor, TensorError, load_npz, save_npz};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::support::{flat, random};
use crate::test_device::test_device;

/// What `tests/numpy/README.md` puts into the files, with values of `value(index)`.
fn arrays(value: impl Fn(usize) -> f64) -> Params {
    let mut params = Params::new();
    for (name, dtype, shape) in [
        ("half", DType::F16, &[5][..]),
        ("dense/kernel", DType::F32, &[3, 4]),
        ("fortran", DType::F32, &[2, 3, 4]),
        ("big endian", DType::F64, &[2, 2]),
        ("u8", DType::U8, &[3]),
        ("u32", DType::U32, &[3]),
        ("i16", DType::I16, &[3]),
        ("i32", DType::I32, &[3]),
        ("i64", DType::I64, &[3]),
        ("scalar", DType::F32, &[]),
        ("empty", DType::F32, &[0, 2]),
    ] {
        let values: Vec<f64> = (0..shape.iter().product()).map(&value).collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)
            .and_then(|tensor| tensor.to_dtype(dtype)?.to_device(test_device()))
            .unwrap();
        params.add(name, &tensor, true).unwrap();
    }
    params
}

fn snapshot(params: &Params) -> Vec<(DType, Vec<f32>)> {
    params
        .iter()
        .map(|(_, param)| {
            let value = param.value().to_device(&Device::Cpu).unwrap();
            let value = value.to_dtype(DType::F32).unwrap();
            (param.value().dtype(), flat(&value))
        })
        .collect()
}

fn from_numpy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/numpy")
        .join(name)
}

#[test]
fn files_of_numpy_are_read() {
    let expected = snapshot(&arrays(|i| i as f64 * 0.5 + 1.0));
    for name in ["stored.npz", "deflated.npz"] {
        let params = arrays(|_| 0.0);
        load_npz(&params, from_numpy(name)).unwrap();
        assert_eq!(snapshot(&params), expected, "{name}");
    }
}

#[test]
fn what_is_saved_is_loaded() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("weights.npz");
    let (saved, loaded) = (arrays(|i| i as f64 * 0.25), arrays(|_| 0.0));
    save_npz(&saved, &path).unwrap();
    load_npz(&loaded, &path).unwrap();
    assert_eq!(snapshot(&saved), snapshot(&loaded));

    // The same bytes each time, and nothing left beside the file.
    let bytes = fs::read(&path).unwrap();
    save_npz(&loaded, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

    // Each entry is byte for byte what numpy writes.
    let (mut ours, mut numpys) = (
        archive(fs::read(&path).unwrap()),
        archive(fs::read(from_numpy("stored.npz")).unwrap()),
    );
    for name in ["dense/kernel.npy", "half.npy", "scalar.npy", "empty.npy"] {
        let header = |archive: &mut zip::ZipArchive<Cursor<Vec<u8>>>| {
            let mut bytes = Vec::new();
            let mut entry = archive.by_name(name).unwrap();
            std::io::copy(&mut entry, &mut bytes).unwrap();
            bytes.truncate(128);
            bytes
        };
        assert_eq!(header(&mut ours), header(&mut numpys), "{name}");
    }
}

fn archive(bytes: Vec<u8>) -> zip::ZipArchive<Cursor<Vec<u8>>> {
    zip::ZipArchive::new(Cursor::new(bytes)).unwrap()
}

#[test]
fn what_numpy_does_not_have_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("weights.npz");
    fs::write(&path, "as it was").unwrap();
    let mut params = arrays(|_| 0.0);
    let brain = Tensor::zeros(2, DType::BF16, test_device()).unwrap();
    params.add("brain", &brain, true).unwrap();
    let error = save_npz(&params, &path).unwrap_err();
    assert!(matches!(error, TensorError::Argument { .. }), "{error}");
    assert!(error.to_string().contains("BF16 in \"brain\""), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"as it was");
}

#[test]
fn file_errors_name_the_file() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("no/such/file.npz");
    let params = arrays(|_| 0.0);
    for (action, error) in [
        ("reading", load_npz(&params, &missing).unwrap_err()),
        ("writing", save_npz(&params, &missing).unwrap_err()),
    ] {
        let start = format!("{action} {}: ", missing.display());
        assert!(error.to_string().starts_with(&start), "{error}");
    }
}

/// A model of one parameter `w`, two by three, and its values.
fn small() -> Params {
    let mut params = Params::new();
    params.add("w", &random(1, &[2, 3]), true).unwrap();
    params
}

fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn npz(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// What loading these bytes into [`small`] says; nothing has changed.
fn refused(bytes: &[u8]) -> TensorError {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("hostile.npz");
    fs::write(&path, bytes).unwrap();
    let params = small();
    let error = load_npz(&params, &path).unwrap_err();
    assert_eq!(snapshot(&params), snapshot(&small()));
    assert!(error.to_string().contains("hostile.npz"), "{error}");
    error
}

const HEADER: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";

#[test]
fn a_header_may_be_written_in_other_ways() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("w.npz");
    let data: Vec<u8> = (0..6u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
    let mut version_3 = b"\x93NUMPY\x03\x00".to_vec();
    version_3.extend((HEADER.len() as u32).to_le_bytes());
    version_3.extend(HEADER.as_bytes());
    version_3.extend(&data);
    for bytes in [
        npy(HEADER, &data),
        npy(
            "{\"shape\":(2,3,),\"fortran_order\":False,\"descr\":\"<f4\"}  \n",
            &data,
        ),
        version_3,
    ] {
        fs::write(&path, npz(&[("w.npy", bytes)])).unwrap();
        let params = small();
        load_npz(&params, &path).unwrap();
        assert_eq!(
            flat(params.iter().next().unwrap().1.value()),
            [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        );
    }
}

#[test]
fn a_truncated_file_is_an_error_at_every_length() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("w.npz");
    save_npz(&small(), &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    for len in 0..bytes.len() {
        let error = refused(&bytes[..len]);
        assert!(
            matches!(error, TensorError::Format { .. }),
            "{len}: {error}"
        );
    }
}

#[test]
fn a_flipped_bit_is_never_loaded_as_another_value() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("w.npz");
    save_npz(&small(), &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    for place in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[place] ^= 1 << (place % 8);
        fs::write(&path, &bytes).unwrap();
        let params = small();
        // What is not looked at, such as a date, may be anything.
        let _ = load_npz(&params, &path);
        assert_eq!(snapshot(&params), snapshot(&small()), "{place}");
    }
}

#[test]
fn hostile_headers_name_file_and_entry() {
    let max = u64::MAX;
    let long = format!("({})", "1, ".repeat(100));
    let shape = |shape: &str| HEADER.replace("(2, 3)", shape);
    let cases = [
        ("not an array".into(), "magic"),
        (b"\x93NUM".to_vec(), "header"),
        (b"\x93NUMPY\x09\x00\x00\x00".to_vec(), "version"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}".to_vec(), "too long"),
        (b"\x93NUMPY\x01\x00\xff\xff{}".to_vec(), "header"),
        (npy("", &[]), "plain array"),
        (npy("{}", &[]), "plain array"),
        (
            npy("{'descr': '<f4', 'fortran_order': False}", &[]),
            "plain array",
        ),
        (npy(&format!("{HEADER} x"), &[0; 24]), "plain array"),
        (
            npy(&HEADER.replace("False", "None"), &[0; 24]),
            "plain array",
        ),
        (
            npy(&HEADER.replace("'<f4'", "[('a', '<f4')]"), &[0; 24]),
            "plain array",
        ),
        (
            npy(
                &HEADER.replace("'shape'", "'shape': (2,), 'shape'"),
                &[0; 24],
            ),
            "plain array",
        ),
        (npy(&shape("(-2, 3)"), &[0; 24]), "plain array"),
        (npy(&shape("(2 3)"), &[0; 24]), "plain array"),
        (npy(&shape("(6)"), &[0; 24]), "plain array"),
        (
            npy(&shape("(2, 99999999999999999999999)"), &[0; 24]),
            "plain array",
        ),
        (npy(&shape(&long), &[0; 24]), "too many dimensions"),
        (npy(HEADER, &[0; 23]), "fill whole buffer"),
        (npy(HEADER, &[0; 25]), "longer"),
        // A thousand times as many bytes as the file has.
        (npy(HEADER, &[0; 1 << 20]), "longer"),
    ];
    for (entry, part) in cases {
        let error = refused(&npz(&[("w.npy", entry)]));
        assert!(matches!(error, TensorError::Format { .. }), "{error}");
        let message = error.to_string();
        assert!(
            message.contains("entry \"w\"") && message.contains(part),
            "{message}"
        );
    }
    // Declared sizes and types that are not the parameter's are found before anything is read.
    for header in [
        shape(&format!("({max}, {max})")),
        shape("(1000000, 1000000)"),
        shape("(3, 2)"),
        shape("(6,)"),
        HEADER.replace("<f4", "<f8"),
        HEADER.replace("<f4", "|O"),
        HEADER.replace("<f4", "|f4"),
        HEADER.replace("<f4", "<c8"),
    ] {
        let error = refused(&npz(&[("w.npy", npy(&header, &[0; 24]))]));
        assert!(error.to_string().contains("\"w\" differs"), "{error}");
    }
}

#[test]
fn other_entries_are_named() {
    let array = || npy(HEADER, &[0; 24]);
    let error = refused(&npz(&[("v.npy", array())]));
    assert!(
        error
            .to_string()
            .contains("missing \"w\"; unexpected \"v\""),
        "{error}"
    );
    let error = refused(&npz(&[("w", array())]));
    assert!(
        error
            .to_string()
            .contains("entry \"w\": its name does not end in .npy"),
        "{error}"
    );
    // Two entries of one name: the second is renamed in the bytes.
    let mut bytes = npz(&[("w.npy", array()), ("v.npy", array())]);
    for place in 0..bytes.len() - 5 {
        if &bytes[place..place + 5] == b"v.npy" {
            bytes[place] = b'w';
        }
    }
    assert!(
        refused(&bytes).to_string().contains("two entries"),
        "{:?}",
        refused(&bytes)
    );
    assert!(refused(b"").to_string().contains("npz"));
}
