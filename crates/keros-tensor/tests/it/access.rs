//! Reading and writing tensor memory, and the mistakes that would otherwise hang.

use keros_tensor::access::{read, write, write2, write3};
use keros_tensor::{DType, Tensor, TensorError};

use crate::support::{flat, random, tensor};
use crate::test_device::test_device;

#[test]
fn views_with_an_offset_are_read_and_written_in_place() {
    let base = tensor(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], &[3, 2]);
    let middle = base.narrow(0, 1, 1).unwrap();
    assert_eq!(*read::<f32>(&middle).unwrap(), [2.0, 3.0]);
    write(&middle, |values: &mut [f32]| values[0] = 9.0).unwrap();
    assert_eq!(flat(&base), [0.0, 1.0, 9.0, 3.0, 4.0, 5.0]);
}

#[test]
fn a_write_to_a_tensor_in_use_is_an_error() {
    let a = random(1, &[4]);
    let b = random(2, &[4]);
    let view = a.reshape((2, 2)).unwrap();
    {
        let _reading = read::<f32>(&a).unwrap();
        let _again = read::<f32>(&view).unwrap();
        assert!(matches!(
            write(&view, |_: &mut [f32]| ()),
            Err(TensorError::Aliased { .. })
        ));
        write(&b, |_: &mut [f32]| ()).unwrap();
    }
    write(&view, |_: &mut [f32]| ()).unwrap();
    assert!(write2(&a, &view, |_: &mut [f32], _: &mut [f32]| ()).is_err());
    assert!(
        write3(
            &a,
            &b,
            &view,
            |_: &mut [f32], _: &mut [f32], _: &mut [f32]| ()
        )
        .is_err()
    );
}

#[test]
fn no_access_starts_inside_a_write() {
    let (a, b) = (random(1, &[4]), random(2, &[4]));
    write(&a, |_: &mut [f32]| {
        assert!(read::<f32>(&a).is_err());
        assert!(read::<f32>(&b).is_err());
        assert!(write(&b, |_: &mut [f32]| ()).is_err());
    })
    .unwrap();
    assert!(read::<f32>(&b).is_ok());
}

#[test]
fn a_panic_in_a_write_leaves_the_thread_usable() {
    let a = random(1, &[4]);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        write(&a, |_: &mut [f32]| panic!("as told"))
    }));
    assert!(result.is_err());
    write(&a, |values: &mut [f32]| values.fill(1.0)).unwrap();
    assert_eq!(flat(&a), [1.0; 4]);
}

#[test]
fn wrong_types_and_strided_views_are_errors() {
    let a = random(1, &[2, 3]);
    assert!(matches!(
        read::<u8>(&a),
        Err(TensorError::DType {
            expected: DType::U8,
            found: DType::F32,
            ..
        })
    ));
    let transposed = a.t().unwrap();
    assert!(matches!(
        write(&transposed, |_: &mut [f32]| ()),
        Err(TensorError::NotContiguous { .. })
    ));
    let labels = Tensor::new(&[1u32, 2], test_device()).unwrap();
    assert_eq!(*read::<u32>(&labels).unwrap(), [1, 2]);
}
