//! Device names.

use keros_tensor::{Device, TensorError, parse_device};

#[test]
fn names_are_parsed() {
    assert!(matches!(parse_device("cpu"), Ok(Device::Cpu)));
    for name in ["cuda", "cuda:0", "cuda:12"] {
        assert!(matches!(
            parse_device(name),
            Err(TensorError::DeviceUnavailable { .. })
        ));
    }
    for name in ["", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda0", "gpu"] {
        let error = parse_device(name).unwrap_err();
        assert!(matches!(error, TensorError::UnknownDevice { .. }), "{name}");
    }
    assert_eq!(
        parse_device("tpu").unwrap_err().to_string(),
        "parsing device: unknown name \"tpu\" (expected \"cpu\", \"cuda\" or \"cuda:N\")"
    );
}
