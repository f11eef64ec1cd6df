//! Host arrays and sets of them.

use keros_data::{Array, Arrays, Batch, DType};
use ndarray::{ShapeBuilder, arr1, arr2};

#[test]
fn ndarray_moves_in_and_out_without_a_copy() {
    let elements = vec![1.0_f32; 12];
    let address = elements.as_ptr();
    let array = Array::from(ndarray::Array::from_shape_vec((3, 4), elements).unwrap());
    assert_eq!(
        (array.shape(), array.dtype(), array.len()),
        (&[3, 4][..], DType::F32, 3)
    );
    let elements = array.into_vec::<f32>().unwrap();
    assert_eq!((elements.as_ptr(), elements.len()), (address, 12));
}

#[test]
fn into_vec_gives_the_rows_of_a_slice_and_leaves_clones_alone() {
    let array = Array::from_vec(&[4, 2], (0..8_i64).collect()).unwrap();
    assert_eq!(
        array.slice(1..3).unwrap().into_vec::<i64>().unwrap(),
        [2, 3, 4, 5]
    );
    let slice = array.slice(1..3).unwrap();
    drop(array);
    assert_eq!(slice.into_vec::<i64>().unwrap(), [2, 3, 4, 5]);
    assert_eq!(Array::from(arr1(&[1_u8])).into_vec::<f32>(), None);
}

#[test]
fn slices_share_memory_and_selections_do_not() {
    let array = Array::from_vec(&[3, 2], vec![0_u8, 1, 2, 3, 4, 5]).unwrap();
    let slice = array.slice(1..3).unwrap();
    assert_eq!(
        slice.as_slice::<u8>().unwrap().as_ptr(),
        array.as_slice::<u8>().unwrap()[2..].as_ptr()
    );
    let selected = array.select(&[2, 0, 2]).unwrap();
    assert_eq!(selected.shape(), [3, 2]);
    assert_eq!(selected.as_slice::<u8>().unwrap(), [4, 5, 0, 1, 4, 5]);
}

#[test]
fn any_memory_layout_is_selected_in_row_major_order() {
    let columns = ndarray::Array::from_shape_vec((2, 3).f(), vec![1_i64, 4, 2, 5, 3, 6]).unwrap();
    let array = Array::from(columns);
    assert_eq!(array.as_slice::<i64>(), None);
    assert_eq!(
        array.select(&[1, 0]).unwrap().as_slice::<i64>().unwrap(),
        [4, 5, 6, 1, 2, 3]
    );
    assert_eq!(
        array.to_standard_layout().as_slice::<i64>().unwrap(),
        [1, 2, 3, 4, 5, 6]
    );
    assert_eq!(array.into_vec::<i64>().unwrap(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn rows_that_do_not_exist_are_refused() {
    let array = Array::from(arr2(&[[1_u8, 2], [3, 4]]));
    assert_eq!(
        array.select(&[0, 2]).unwrap_err().to_string(),
        "selecting rows of an array: row 2 does not exist (expected an index below 2)"
    );
    assert_eq!(
        array.slice(1..5).unwrap_err().to_string(),
        "slicing an array: row 5 does not exist (expected an index below 2)"
    );
    let scalar = Array::from(ndarray::arr0(1_u8));
    assert!(scalar.is_empty() && scalar.select(&[0]).is_err() && scalar.slice(0..1).is_err());
    assert!(scalar.select(&[]).is_err());
}

#[test]
fn a_list_of_the_wrong_length_is_refused() {
    assert_eq!(
        Array::from_vec(&[2, 3], vec![0_u8; 5])
            .unwrap_err()
            .to_string(),
        "making an array: the list of elements has the wrong shape (expected as many elements as shape [2, 3] has, found [5])"
    );
    assert!(Array::from_vec(&[usize::MAX, 2], vec![0_u8; 5]).is_err());
}

#[test]
fn named_arrays_keep_their_order() {
    let (b, a) = (arr2(&[[1.0_f32], [2.0]]), arr1(&[3.0_f32, 4.0]));
    let arrays = Arrays::from_pairs([("b", Array::from(b)), ("a", Array::from(a))]).unwrap();
    assert_eq!(arrays.names().collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(
        (arrays.count(), arrays.rows(), arrays.is_unnamed()),
        (2, 2, false)
    );
    assert_eq!(arrays.get("a").unwrap().shape(), [2]);
    assert!(arrays.get("c").is_none());
    let first = arrays.select(&[1]).unwrap();
    assert_eq!(first.get("a").unwrap().as_slice::<f32>().unwrap(), [4.0]);
    assert!(Arrays::from(arr1(&[1_u8])).is_unnamed());
}

#[test]
fn sets_that_do_not_fit_together_are_refused() {
    let (two, three) = (arr1(&[1_u8, 2]), arr1(&[1_u8, 2, 3]));
    let message = |pairs: Vec<(&str, Array)>| Arrays::from_pairs(pairs).unwrap_err().to_string();
    assert_eq!(
        message(vec![("a", two.clone().into()), ("b", three.clone().into())]),
        "checking array lengths: \"b\" has another number of rows than \"a\" (expected 2, found 3)"
    );
    assert_eq!(
        message(vec![("a", two.clone().into()), ("a", two.clone().into())]),
        "naming arrays: two arrays have the name \"a\" (expected different names)"
    );
    assert_eq!(
        message(vec![]),
        "naming arrays: the list of arrays must not be empty (expected at least 1, found 0)"
    );
}

#[test]
fn a_batch_must_hold_as_many_targets_and_weights_as_inputs() {
    let x = || Array::from_vec(&[2, 1], vec![1.0_f32, 2.0]).unwrap();
    let y = |n: usize| Array::from_vec(&[n], vec![0_i64; n]).unwrap();
    let message = |batch: Batch| batch.check().unwrap_err().to_string();
    assert!(
        Batch::new(x(), y(2))
            .sample_weight(arr1(&[1.0_f32, 2.0]))
            .indices(vec![7, 8])
            .check()
            .is_ok()
    );
    assert_eq!(
        message(Batch::new(x(), y(3))),
        "checking array lengths: targets has another number of rows than inputs (expected 2, found 3)"
    );
    assert_eq!(
        message(Batch::new(x(), y(2)).sample_weight(arr1(&[1.0_f32]))),
        "checking array lengths: sample_weight has another number of rows than inputs (expected 2, found 1)"
    );
    assert_eq!(
        message(Batch::inputs_only(
            Arrays::from_pairs([("image", x().slice(0..0).unwrap())]).unwrap()
        )),
        "checking a batch: inputs \"image\" must not be empty (expected at least 1, found 0)"
    );
    assert!(message(Batch::inputs_only(x()).indices(vec![1])).contains("sample indices"));
}

#[test]
fn errors_are_small_and_travel() {
    fn travels<T: Send + Sync + 'static>() {}
    travels::<keros_data::DataError>();
    assert!(
        size_of::<keros_data::DataError>() <= 64,
        "{}",
        size_of::<keros_data::DataError>()
    );
}
