//! Device names, and GPUs that are not there.

use std::process::Command;

#[cfg(feature = "cuda")]
use keros_tensor::kernels::{self, Activation};
use keros_tensor::{DType, Device, Tensor, TensorError, Workspace, device_name, parse_device};

#[test]
fn names_are_parsed() {
    assert!(matches!(parse_device("cpu"), Ok(Device::Cpu)));
    for name in [
        "", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cuda0", "gpu",
    ] {
        let error = parse_device(name).unwrap_err();
        assert!(matches!(error, TensorError::UnknownDevice { .. }), "{name}");
    }
    assert_eq!(
        parse_device("tpu").unwrap_err().to_string(),
        "parsing device: unknown name \"tpu\" (expected \"cpu\", \"cuda\" or \"cuda:N\")"
    );
}

#[test]
fn a_build_without_cuda_says_so() {
    if cfg!(feature = "cuda") {
        return;
    }
    for name in ["cuda", "cuda:0", "cuda:12", "cuda:99999999999999999999999"] {
        let error = parse_device(name).unwrap_err();
        assert!(matches!(error, TensorError::DeviceUnavailable { .. }));
        assert_eq!(
            error.to_string(),
            format!(
                "opening device {name:?}: this build has no CUDA support (expected \"cpu\", or a \
                 build with the feature \"cuda\")"
            )
        );
    }
}

/// Whether the tests run on a GPU.
fn on_gpu() -> bool {
    std::env::var("KEROS_TEST_DEVICE").is_ok_and(|name| name.starts_with("cuda"))
}

/// Runs a test of this file in a process with a variable of its own: a driver reads them once.
fn alone(test: &str, variables: &[(&str, &str)]) {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", &format!("device::{test}"), "--ignored"]);
    program.envs(variables.iter().copied());
    let done = program.output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn a_number_names_one_device() {
    if !on_gpu() {
        return;
    }
    let device = parse_device("cuda").unwrap();
    assert_eq!(device_name(&device), "cuda:0");
    assert!(device.same_device(&parse_device("cuda:0").unwrap()));
}

#[cfg(feature = "cuda")]
#[test]
fn tensors_of_two_devices_do_not_mix() {
    if !on_gpu() {
        return;
    }
    let device = parse_device("cuda").unwrap();
    let other = Device::new_cuda(0).unwrap();
    let here = Tensor::ones((2, 2), DType::F32, &device).unwrap();
    let there = Tensor::ones((2, 2), DType::F32, &other).unwrap();
    for (ws, x, w) in [
        (&device, &here, &there),
        (&device, &there, &here),
        (&other, &here, &here),
    ] {
        let mut ws = Workspace::new(ws);
        let error = kernels::dense(&mut ws, x, w, None, Activation::Linear).unwrap_err();
        assert_eq!(
            error.to_string(),
            "dense: tensor is on another device (expected the GPU of the other tensors, found \
             another GPU, or the same opened twice)"
        );
    }
}

#[test]
fn numbers_beyond_the_last_gpu_are_errors() {
    if !on_gpu() {
        return;
    }
    for name in ["cuda:4000", "cuda:99999999999999999999999"] {
        let error = parse_device(name).unwrap_err();
        assert!(matches!(error, TensorError::NoGpu { .. }));
        let text = error.to_string();
        let expected = format!("opening device {name:?}: there is no such GPU (there are: cuda:0");
        assert!(text.starts_with(&expected), "{text}");
    }
}

#[test]
fn a_machine_without_driver_or_gpu_says_so() {
    if on_gpu() {
        // The second is for a real driver, which finds no GPU then.
        let none = [
            ("KEROS_EMULATOR_NO_DRIVER", "1"),
            ("CUDA_VISIBLE_DEVICES", ""),
        ];
        alone("without_driver", &none);
    }
}

#[test]
#[ignore = "runs in a process of its own"]
fn without_driver() {
    let error = parse_device("cuda").unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, TensorError::NoGpu { .. }), "{text}");
    assert!(
        text.starts_with("opening device \"cuda\": the CUDA driver does not start"),
        "{text}"
    );
    // The CPU is still there.
    assert!(parse_device("cpu").is_ok());
}

#[test]
fn memory_that_is_used_up_is_an_error_that_one_can_go_on_from() {
    if on_gpu() {
        alone("with_little_memory", &[("KEROS_EMULATOR_BYTES", "4000000")]);
    }
}

#[test]
#[ignore = "runs in a process of its own"]
fn with_little_memory() {
    let device = parse_device("cuda").unwrap();
    let mut ws = Workspace::new(&device);
    // More than any GPU has.
    let error = ws.take(&[1 << 42], DType::F32).unwrap_err();
    let text = error.to_string();
    let TensorError::OutOfMemory {
        bytes, free, total, ..
    } = error
    else {
        panic!("{text}");
    };
    assert!(
        bytes >= Some(4 << 42) && free <= total && total > 0,
        "{text}"
    );
    assert!(
        text.starts_with("taking buffer: the memory of the GPU is used up"),
        "{text}"
    );

    // What is free in the pool makes room; what is lent does not.
    let half = total / 2 / 4;
    let lent = ws.take(&[half], DType::F32).unwrap();
    assert!(ws.take(&[half + (half / 2)], DType::F32).is_err());
    ws.recycle();
    drop(lent);
    let larger = ws.take(&[half + (half / 2)], DType::F32).unwrap();
    assert!(larger.elem_count() > half);
    drop(larger);
    drop(ws);

    let candle = Tensor::zeros(1_usize << 42, DType::F32, &device);
    let error = TensorError::from(candle.unwrap_err());
    assert!(matches!(
        error,
        TensorError::OutOfMemory { bytes: None, .. }
    ));
    assert!(Tensor::zeros(10, DType::F32, &device).is_ok());
}

#[cfg(feature = "cudnn")]
#[test]
fn convolutions_make_do_with_the_memory_that_is_left() {
    if on_gpu() {
        alone(
            "with_memory_for_small_ways_only",
            &[("KEROS_EMULATOR_BYTES", "4000000")],
        );
    }
}

#[cfg(feature = "cudnn")]
#[test]
#[ignore = "runs in a process of its own"]
fn with_memory_for_small_ways_only() {
    // Of a real GPU nobody knows what cuDNN would do with how much.
    if !std::env::var("LD_PRELOAD").is_ok_and(|libraries| libraries.contains("libcuda")) {
        return;
    }
    let device = parse_device("cuda").unwrap();
    let mut ws = Workspace::new(&device);
    let x = Tensor::ones((1, 3, 3, 2), DType::F32, &device).unwrap();
    let w = Tensor::ones((3, 3, 2, 2), DType::F32, &device).unwrap();
    let _lent = ws.take(&[800_000], DType::F32).unwrap();
    let spec = kernels::Conv2dSpec::default();
    for _ in 0..2 {
        let y = kernels::conv2d(&mut ws, &x, &w, None, &spec, Activation::Linear).unwrap();
        let y = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(y, [18.0, 18.0]);
    }
}
