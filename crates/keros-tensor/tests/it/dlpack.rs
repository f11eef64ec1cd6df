//! Views of tensors in the layout of DLPack.

use std::mem::{align_of, offset_of, size_of};

use keros_tensor::{DType, Device, DlDataType, DlDevice, DlTensor, Tensor, TensorView, access};

/// Sizes and offsets of `dlpack.h` 1.0 on a 64-bit machine.
#[test]
fn the_layout_is_that_of_dlpack() {
    assert_eq!((size_of::<DlDevice>(), align_of::<DlDevice>()), (8, 4));
    assert_eq!((size_of::<DlDataType>(), align_of::<DlDataType>()), (4, 2));
    assert_eq!(
        (size_of::<DlTensor<'_>>(), align_of::<DlTensor<'_>>()),
        (48, 8)
    );
    let offsets = [
        offset_of!(DlTensor<'_>, data),
        offset_of!(DlTensor<'_>, device),
        offset_of!(DlTensor<'_>, ndim),
        offset_of!(DlTensor<'_>, dtype),
        offset_of!(DlTensor<'_>, shape),
        offset_of!(DlTensor<'_>, strides),
        offset_of!(DlTensor<'_>, byte_offset),
    ];
    assert_eq!(offsets, [0, 8, 16, 20, 24, 32, 40]);
}

#[test]
fn a_view_has_the_elements_and_keeps_writers_out() {
    let all = Tensor::arange(0.0_f32, 24.0, &Device::Cpu).unwrap();
    let all = all.reshape((4, 3, 2)).unwrap();
    let part = all.narrow(0, 1, 2).unwrap();
    let view = TensorView::new(&part).unwrap();
    assert_eq!(view.shape(), [2, 3, 2]);
    let raw = view.dl_tensor();
    assert_eq!((raw.ndim, raw.byte_offset), (3, 0));
    // SAFETY: the view is alive, and tells how long its memory is.
    let (values, strides) = unsafe {
        (
            std::slice::from_raw_parts(raw.data.cast::<f32>(), 12),
            std::slice::from_raw_parts(raw.strides, 3),
        )
    };
    assert_eq!(values, (6..18).map(|i| i as f32).collect::<Vec<_>>());
    assert_eq!(strides, [6, 2, 1]);
    assert_eq!(view.bytes().len(), 48);
    let refused = access::write(&all, |_: &mut [f32]| ());
    assert!(refused.is_err(), "writing what is lent out");
    drop(view);
    access::write(&all, |values: &mut [f32]| values[6] = -1.0).unwrap();
    assert_eq!(
        TensorView::new(&part).unwrap().bytes()[..4],
        (-1.0_f32).to_ne_bytes()
    );
}

#[test]
fn every_type_of_c_is_named_and_others_are_refused() {
    let ones = Tensor::ones((2, 0, 3), DType::F32, &Device::Cpu).unwrap();
    for (dtype, code, bits) in [
        (DType::U8, 1, 8),
        (DType::U32, 1, 32),
        (DType::I64, 0, 64),
        (DType::F32, 2, 32),
        (DType::F64, 2, 64),
        (DType::F16, 2, 16),
        (DType::BF16, 4, 16),
    ] {
        let tensor = ones.to_dtype(dtype).unwrap();
        let view = TensorView::new(&tensor).unwrap();
        let expected = DlDataType {
            code,
            bits,
            lanes: 1,
        };
        assert_eq!(view.dl_tensor().dtype, expected);
        assert!(view.bytes().is_empty());
    }
    let turned = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)
        .unwrap()
        .t()
        .unwrap();
    let error = TensorView::new(&turned).err().unwrap().to_string();
    assert!(error.contains("viewing a tensor"), "{error}");
}
