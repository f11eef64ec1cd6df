//! Recycled buffers.

use crate::test_device::test_device;
use keros_tensor::{DType, Workspace, access};

/// Address of the first element; on a GPU, which the host does not see, of what candle keeps of it.
fn address(tensor: &keros_tensor::Tensor) -> usize {
    if tensor.device().is_cpu() {
        return access::read::<f32>(tensor).unwrap().as_ptr().addr();
    }
    std::ptr::from_ref(&*tensor.storage_and_layout().0).addr()
}

#[test]
fn a_step_reuses_the_memory_of_the_step_before() {
    let mut ws = Workspace::new(test_device());
    let shapes: [&[usize]; 4] = [&[128, 26, 26, 32], &[128, 10], &[5000], &[5000]];
    let step = |ws: &mut Workspace| -> Vec<usize> {
        ws.recycle();
        shapes
            .iter()
            .map(|shape| {
                let tensor = ws.take(shape, DType::F32).unwrap();
                assert_eq!(tensor.dims(), *shape);
                assert!(tensor.is_contiguous());
                address(&tensor)
            })
            .collect()
    };
    let first = step(&mut ws);
    let bytes = ws.bytes();
    for _ in 0..50 {
        assert_eq!(step(&mut ws), first);
        assert_eq!(ws.bytes(), bytes);
    }
    let on_cpu = ws.device().is_cpu();
    assert!(
        !on_cpu || first.iter().all(|a| a % 64 == 0),
        "on a cache line"
    );
    let mut unique = first.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(
        unique.len(),
        first.len(),
        "no two lent at once share memory"
    );
}

#[test]
fn a_tensor_given_back_serves_again_in_the_same_step() {
    let mut ws = Workspace::new(test_device());
    let a = ws.take(&[10_000], DType::F32).unwrap();
    let here = address(&a);
    assert_ne!(address(&ws.take(&[10_000], DType::F32).unwrap()), here);
    // Any view of it will do.
    ws.give(&a.reshape((100, 100)).unwrap());
    assert_eq!(address(&ws.take(&[9000], DType::F32).unwrap()), here);
    // Nothing happens to a stranger.
    ws.give(&a.copy().unwrap());
}

#[test]
fn small_requests_do_not_take_large_buffers() {
    let mut ws = Workspace::new(test_device());
    let large = ws.take(&[1_000_000], DType::F32).unwrap();
    let here = address(&large);
    ws.recycle();
    assert_ne!(address(&ws.take(&[10], DType::F32).unwrap()), here);
    assert_eq!(address(&ws.take(&[900_000], DType::F32).unwrap()), here);
}

#[test]
fn memory_does_not_grow_with_changing_shapes() {
    let mut ws = Workspace::new(test_device());
    let mut most = 0;
    for step in 0..500usize {
        ws.recycle();
        ws.take(&[1 + step * 7919 % 100_000], DType::F32).unwrap();
        most = most.max(ws.bytes());
    }
    assert!(most < 20 * 100_000 * 4, "{most}");
    for _ in 0..20 {
        ws.recycle();
    }
    assert_eq!(ws.bytes(), 0);
}

#[test]
fn types_do_not_mix_and_absurd_shapes_are_errors() {
    let mut ws = Workspace::new(test_device());
    for dtype in [DType::F32, DType::F64, DType::U8, DType::U32, DType::I64] {
        let tensor = ws.take(&[3, 4], dtype).unwrap();
        assert_eq!(tensor.dtype(), dtype);
    }
    assert_eq!(ws.take(&[], DType::F32).unwrap().dims(), [0usize; 0]);
    assert_eq!(ws.take(&[0, 3], DType::F32).unwrap().dims(), [0, 3]);
    assert!(ws.take(&[usize::MAX, 2], DType::F32).is_err());
    assert!(ws.take(&[usize::MAX / 2], DType::U8).is_err());
}
