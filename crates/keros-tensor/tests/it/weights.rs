//! Files of parameters, whole and broken.

use std::fs;

use keros_tensor::{
    DType, Params, Tensor, TensorError, load_params, load_tensors, save_params, save_tensors,
};
use tempfile::TempDir;

use crate::support::{flat, random, tensor, values};
use crate::test_device::test_device;

fn params(seed: u64) -> Params {
    let mut params = Params::new();
    params
        .add("z/kernel", &random(seed, &[3, 4]), true)
        .unwrap();
    params.add("a/bias", &random(seed + 1, &[4]), true).unwrap();
    params
        .add("empty", &random(seed + 2, &[0, 2]), false)
        .unwrap();
    params
        .add("m/scalar", &random(seed + 3, &[]), false)
        .unwrap();
    params
}

fn snapshot(params: &Params) -> Vec<Vec<f32>> {
    params.iter().map(|(_, p)| flat(p.value())).collect()
}

#[test]
fn what_is_saved_is_loaded() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("weights.safetensors");
    let (saved, loaded) = (params(1), params(100));
    save_params(&saved, &path).unwrap();
    load_params(&loaded, &path).unwrap();
    assert_eq!(snapshot(&saved), snapshot(&loaded));

    let tensors = load_tensors(&path, test_device()).unwrap();
    let names: Vec<_> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["z/kernel", "a/bias", "empty", "m/scalar"]);

    // The same bytes each time, and nothing left beside the file.
    let bytes = fs::read(&path).unwrap();
    save_params(&loaded, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn tensors_of_every_type_come_back() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("t.safetensors");
    let values: Vec<f32> = values(1, 6).iter().map(|x| 100.0 * x.abs()).collect();
    let x = tensor(&values, &[2, 3]);
    let types = [DType::U8, DType::F64, DType::F32, DType::I64, DType::U32];
    let tensors: Vec<(String, Tensor)> = types
        .iter()
        .map(|dtype| {
            (
                format!("{dtype:?}"),
                x.to_dtype(*dtype).unwrap().t().unwrap(),
            )
        })
        .collect();
    let refs: Vec<_> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    save_tensors(&refs, &path).unwrap();
    let back = load_tensors(&path, test_device()).unwrap();
    assert_eq!(back.len(), tensors.len());
    for ((name, tensor), (expected_name, expected)) in back.iter().zip(&tensors) {
        assert_eq!(name, expected_name);
        assert_eq!(tensor.dtype(), expected.dtype());
        let as_f64 = |t: &Tensor| t.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(as_f64(tensor), as_f64(expected));
    }
    save_tensors(&[], &path).unwrap();
    assert!(load_tensors(&path, test_device()).unwrap().is_empty());

    let half = Tensor::zeros(2, DType::F16, test_device()).unwrap();
    assert!(matches!(
        save_tensors(&[("h", &half)], &path),
        Err(TensorError::DType { .. })
    ));
    assert!(save_tensors(&[("a", &x), ("a", &x)], &path).is_err());
    assert!(save_tensors(&[("", &x)], &path).is_err());
}

#[test]
fn every_difference_is_listed_and_nothing_changes() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("w.safetensors");
    let mut other = Params::new();
    other.add("z/kernel", &random(1, &[4, 3]), true).unwrap();
    other
        .add(
            "a/bias",
            &random(2, &[4]).to_dtype(DType::F64).unwrap(),
            true,
        )
        .unwrap();
    other.add("extra", &random(3, &[1]), true).unwrap();
    other.add("m/scalar", &random(4, &[]), true).unwrap();
    save_params(&other, &path).unwrap();

    let target = params(100);
    let before = snapshot(&target);
    let error = load_params(&target, &path).unwrap_err();
    let TensorError::Weights(mismatch) = &error else {
        panic!("{error}");
    };
    assert_eq!(mismatch.missing, ["empty"]);
    assert_eq!(mismatch.unexpected, ["extra"]);
    assert_eq!(mismatch.different.len(), 2);
    let message = error.to_string();
    assert!(message.starts_with(&format!("loading {}: ", path.display())));
    assert!(message.contains("; missing \"empty\"; unexpected \"extra\""));
    assert!(message.contains("\"z/kernel\" differs (expected F32 [3, 4], found F32 [4, 3])"));
    assert!(message.contains("\"a/bias\" differs (expected F32 [4], found F64 [4])"));
    assert_eq!(snapshot(&target), before);
}

#[test]
fn a_truncated_file_is_an_error_at_every_length() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("w.safetensors");
    save_params(&params(1), &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let target = params(100);
    let before = snapshot(&target);
    for len in 0..bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        let error = load_params(&target, &path).unwrap_err();
        assert!(
            matches!(error, TensorError::Format { .. }),
            "{len}: {error}"
        );
        assert!(error.to_string().contains("w.safetensors"));
    }
    assert_eq!(snapshot(&target), before);
}

#[test]
fn hostile_headers_are_errors() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("w.safetensors");
    let with_header = |header: &str, data: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0; data]);
        bytes
    };
    let mut huge = u64::MAX.to_le_bytes().to_vec();
    huge.extend([b'{'; 64]);
    let max = u64::MAX;
    for bytes in [
        huge,
        vec![0xff; 100],
        with_header("not json", 0),
        with_header(
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,8]}}",
            8,
        ),
        with_header(
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}",
            8,
        ),
        with_header(
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
            80,
        ),
        with_header(
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,8]}}",
            8,
        ),
        with_header(
            &format!(
                "{{\"a\":{{\"dtype\":\"F32\",\"shape\":[{max},{max}],\"data_offsets\":[0,8]}}}}"
            ),
            8,
        ),
        with_header(
            "{\"__metadata__\":{\"keros.order\":\"a\\nb\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
            8,
        ),
        with_header(
            "{\"a\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[0,8]}}",
            8,
        ),
    ] {
        fs::write(&path, &bytes).unwrap();
        let error = load_tensors(&path, test_device()).unwrap_err();
        assert!(matches!(error, TensorError::Format { .. }), "{error}");
    }
}

#[test]
fn files_of_other_writers_are_read_in_file_order() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("w.safetensors");
    let tensors = [("b", random(1, &[2])), ("a", random(2, &[3]))];
    candle_core::safetensors::save(
        &tensors
            .iter()
            .cloned()
            .collect::<std::collections::HashMap<_, _>>(),
        &path,
    )
    .unwrap();
    let back = load_tensors(&path, test_device()).unwrap();
    assert_eq!(back[0].0, "a");
    assert_eq!(flat(&back[1].1), flat(&tensors[0].1));
}

#[test]
fn file_errors_name_the_file() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("no/such/file.safetensors");
    let target = params(1);
    for (action, error) in [
        ("reading", load_params(&target, &missing).unwrap_err()),
        ("writing", save_params(&target, &missing).unwrap_err()),
    ] {
        let message = error.to_string();
        assert!(
            message.starts_with(&format!("{action} {}: ", missing.display())),
            "{message}"
        );
    }
    // A failed write leaves what was there.
    let path = dir.path().join("directory");
    fs::create_dir(&path).unwrap();
    assert!(save_params(&target, &path).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
