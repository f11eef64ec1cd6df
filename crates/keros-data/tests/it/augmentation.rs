//! Drawing and applying transformations, and `flow`.

use keros_data::rng::{Purpose, stream};
use keros_data::{
    Array, DataError, FlowOptions, ImageDataGenerator, ImageShape, Sequence, ShiftRange,
    TransformParams,
};

const SHAPE: ImageShape = ImageShape {
    height: 20,
    width: 50,
    channels: 1,
};

fn draws(generator: &ImageDataGenerator) -> Vec<TransformParams> {
    let mut rng = stream(0, Purpose::Custom, 0, 0);
    (0..2000)
        .map(|_| {
            let params = generator.get_random_transform(SHAPE, &mut rng).unwrap();
            params.transform
        })
        .collect()
}

/// Lowest and highest value drawn.
fn extent(params: &[TransformParams], value: impl Fn(&TransformParams) -> f64) -> (f64, f64) {
    let values = || params.iter().map(&value);
    (
        values().fold(f64::MAX, f64::min),
        values().fold(f64::MIN, f64::max),
    )
}

#[test]
fn nothing_is_drawn_unless_asked() {
    assert!(
        draws(&ImageDataGenerator::new())
            .iter()
            .all(|params| *params == TransformParams::default())
    );
}

#[test]
fn draws_fill_their_ranges() {
    let generator = ImageDataGenerator::new()
        .rotation_range(15.0)
        .shear_range(10.0)
        .zoom_range(0.1);
    let params = draws(&generator.horizontal_flip(true).vertical_flip(true));
    let check = |value: fn(&TransformParams) -> f64, low: f64, high: f64| {
        let (lowest, highest) = extent(&params, value);
        let slack = (high - low) * 0.01;
        assert!(
            lowest >= low && lowest < low + slack && highest < high && highest > high - slack,
            "{lowest} {highest}"
        );
    };
    check(|params| params.rotation_deg, -15.0, 15.0);
    check(|params| params.shear_deg, -10.0, 10.0);
    check(|params| params.zoom_height, 0.9, 1.1);
    check(|params| params.zoom_width, 0.9, 1.1);
    assert!(
        params
            .iter()
            .any(|params| params.zoom_height != params.zoom_width)
    );
    for flipped in [
        |params: &&TransformParams| params.flip_horizontal,
        |params: &&TransformParams| params.flip_vertical,
    ] {
        let count = params.iter().filter(flipped).count();
        assert!((900..1100).contains(&count), "{count}");
    }
}

#[test]
fn shifts_follow_kerass_rules() {
    let shifts = |range: ShiftRange| {
        let params = draws(
            &ImageDataGenerator::new()
                .width_shift_range(range.clone())
                .height_shift_range(range),
        );
        (
            extent(&params, |p| p.height_shift_px),
            extent(&params, |p| p.width_shift_px),
            params,
        )
    };
    let close = |(low, high): (f64, f64), limit: f64| {
        (low + limit).abs() < 0.02 * limit && (high - limit).abs() < 0.02 * limit
    };
    // A number below 1 is a fraction of the side, from 1 on it is pixels.
    let (height, width, _) = shifts(0.2.into());
    assert!(close(height, 4.0) && close(width, 10.0));
    let (height, width, _) = shifts(2.5.into());
    assert!(close(height, 2.5) && close(width, 2.5));
    // A whole number gives whole pixels below it, with both signs.
    let (height, width, params) = shifts(3.into());
    assert_eq!((height, width), ((-2.0, 2.0), (-2.0, 2.0)));
    assert!(
        params
            .iter()
            .all(|params| params.height_shift_px.fract() == 0.0)
    );
    // A list gives its values with both signs, as fractions if all are below 1.
    let (_, width, params) = shifts([0.1, 0.5].into());
    assert_eq!(width, (-25.0, 25.0));
    assert!(
        params
            .iter()
            .all(|params| [2.0, 10.0].contains(&params.height_shift_px.abs()))
    );
    let (height, _, _) = shifts(vec![0.5, 3.0].into());
    assert_eq!(height, (-3.0, 3.0));
    // Off draws nothing.
    assert_eq!(shifts(0.into()).2, draws(&ImageDataGenerator::new()));
}

#[test]
fn what_is_off_draws_nothing_and_flips_always_draw() {
    let one = |generator: ImageDataGenerator| {
        let mut rng = stream(9, Purpose::Custom, 0, 0);
        generator.get_random_transform(SHAPE, &mut rng).unwrap();
        rng.get_word_pos()
    };
    let base = ImageDataGenerator::new;
    assert_eq!(one(base()), 4);
    assert_eq!(one(base().horizontal_flip(true)), 4);
    assert_eq!(one(base().rotation_range(1.0)), 6);
    assert_eq!(one(base().zoom_range(0.1)), 8);
    assert_eq!(one(base().width_shift_range(3)), 8);
}

/// Draws are part of the contract: a resumed training must see the same images.
#[test]
fn the_draw_of_a_seed_stays_the_same_for_ever() {
    let mut rng = stream(42, Purpose::Augmentation, 3, 17);
    let generator = ImageDataGenerator::new()
        .rotation_range(15.0)
        .height_shift_range(0.1)
        .width_shift_range(40)
        .shear_range(10.0)
        .zoom_range(0.1)
        .horizontal_flip(true)
        .vertical_flip(true);
    let params = generator.get_random_transform(SHAPE, &mut rng).unwrap();
    let expected = TransformParams {
        rotation_deg: -10.310032003328107,
        height_shift_px: 1.7765622154031013,
        width_shift_px: 2.0,
        shear_deg: -6.927748500404185,
        zoom_height: 0.9521131706842538,
        zoom_width: 1.069336320841737,
        flip_horizontal: true,
        flip_vertical: true,
    };
    assert_eq!(params.transform, expected);
}

#[test]
fn wrong_settings_are_refused() {
    let message = |generator: ImageDataGenerator| {
        let mut rng = stream(0, Purpose::Custom, 0, 0);
        let error: DataError = generator.get_random_transform(SHAPE, &mut rng).unwrap_err();
        error.to_string()
    };
    let base = ImageDataGenerator::new;
    assert_eq!(
        message(base().rotation_range(-1.0)),
        "setting up an ImageDataGenerator: invalid rotation_range (expected a finite number, at least 0, found -1)"
    );
    assert!(message(base().shear_range(f64::NAN)).contains("shear_range"));
    assert!(
        message(base().width_shift_range(-3))
            .contains("width_shift_range (expected at least 0, found -3)")
    );
    assert!(message(base().height_shift_range(f64::INFINITY)).contains("height_shift_range"));
    assert!(message(base().width_shift_range(Vec::new())).contains("an empty list"));
    assert!(
        message(base().width_shift_range([0.1, f64::NAN])).contains("finite values, found NaN")
    );
    assert!(
        message(base().zoom_range(1.0))
            .contains("zoom_range (expected 0 < low <= high, found low 0, high 2)")
    );
    assert!(message(base().zoom_range((1.5, 0.5))).contains("zoom_range"));
    assert!(message(base().zoom_range([0.5, f64::NAN])).contains("zoom_range"));
    assert!(
        message(base().interpolation_order(6))
            .contains("interpolation_order (expected 0 to 5, found 6)")
    );
    assert!(message(base().rescale(f32::NAN)).contains("rescale"));
    assert!(message(base().cval(f32::INFINITY)).contains("cval"));
}

#[test]
fn one_transformation_fits_image_and_mask() {
    let generator = ImageDataGenerator::new()
        .rotation_range(30.0)
        .rescale(1.0 / 255.0);
    let image = Array::from_vec(&[6, 6, 1], (0..36_u8).collect()).unwrap();
    let mask = Array::from_vec(&[6, 6, 1], (0..36_u8).map(f32::from).collect()).unwrap();
    let params = generator
        .get_random_transform(
            ImageShape::new(6, 6, 1),
            &mut stream(1, Purpose::Custom, 0, 0),
        )
        .unwrap();
    let warped = generator.apply_transform(&image, &params).unwrap();
    assert_eq!(warped, generator.apply_transform(&mask, &params).unwrap());
    assert_eq!(
        warped,
        generator
            .random_transform(&image, &mut stream(1, Purpose::Custom, 0, 0))
            .unwrap()
    );
    // Not rescaled.
    assert!(
        warped
            .as_slice::<f32>()
            .unwrap()
            .iter()
            .any(|value| *value > 20.0)
    );
    let flat = Array::from_vec(&[6, 6], vec![0_u8; 36]).unwrap();
    assert!(
        generator
            .apply_transform(&flat, &params)
            .unwrap_err()
            .to_string()
            .contains("[height, width, channels]")
    );
    let integers = Array::from_vec(&[1, 1, 1], vec![0_i64]).unwrap();
    assert!(
        generator
            .apply_transform(&integers, &params)
            .unwrap_err()
            .to_string()
            .contains("found i64")
    );
}

fn images(n: usize) -> Array {
    Array::from_vec(
        &[n, 5, 4, 2],
        (0..n * 40).map(|i| (i % 256) as u8).collect(),
    )
    .unwrap()
}

fn labels(n: usize) -> Array {
    Array::from_vec(&[n], (0..n as i64).collect()).unwrap()
}

#[test]
fn flow_makes_float_batches_of_the_samples_it_says() {
    let generator = ImageDataGenerator::new().rescale(0.5);
    let options = FlowOptions {
        batch_size: 4,
        sample_weight: Some(Array::from_vec(&[10], (0..10_u8).map(f32::from).collect()).unwrap()),
        ..FlowOptions::default()
    };
    let flow = generator
        .flow(images(10), Some(labels(10)), options)
        .unwrap();
    assert_eq!((flow.len(), flow.num_samples()), (3, Some(10)));
    let source = images(10);
    let mut seen = Vec::new();
    for index in 0..3 {
        let batch = flow.batch(0, index).unwrap();
        batch.check().unwrap();
        assert_eq!(batch.inputs.first().shape(), [[4, 4, 2][index], 5, 4, 2]);
        let expected: Vec<f32> = source
            .select(&batch.indices)
            .unwrap()
            .as_slice::<u8>()
            .unwrap()
            .iter()
            .map(|value| f32::from(*value) * 0.5)
            .collect();
        assert_eq!(batch.inputs.first().as_slice::<f32>().unwrap(), expected);
        assert_eq!(
            batch.targets.unwrap().first(),
            &labels(10).select(&batch.indices).unwrap()
        );
        let weights: Vec<f32> = batch.indices.iter().map(|i| *i as f32).collect();
        assert_eq!(
            batch
                .sample_weight
                .unwrap()
                .first()
                .as_slice::<f32>()
                .unwrap(),
            weights
        );
        seen.extend(batch.indices);
    }
    assert!(!seen.is_sorted());
    seen.sort_unstable();
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    assert!(flow.batch(0, 3).is_err());
}

#[test]
fn an_augmented_image_depends_on_seed_epoch_and_sample_only() {
    let generator = ImageDataGenerator::new()
        .rotation_range(40.0)
        .zoom_range(0.3);
    let image = |batch_size: usize, shuffle: bool, seed: u64, epoch: u64, sample: usize| {
        let flow = generator
            .flow(
                images(10),
                None,
                FlowOptions {
                    batch_size,
                    shuffle,
                    seed,
                    ..Default::default()
                },
            )
            .unwrap();
        let batches: Vec<_> = (0..flow.len())
            .map(|index| flow.batch(epoch, index).unwrap())
            .collect();
        let batch = batches
            .into_iter()
            .find(|batch| batch.indices.contains(&sample))
            .unwrap();
        let row = batch
            .indices
            .iter()
            .position(|index| *index == sample)
            .unwrap();
        let image = batch.inputs.first().slice(row..row + 1).unwrap();
        // The parameters can be had alone, and replayed.
        let params = flow.transform(epoch, sample);
        let source = images(10)
            .select(&[sample])
            .unwrap()
            .into_vec::<u8>()
            .unwrap();
        let source = Array::from_vec(&[5, 4, 2], source).unwrap();
        let replayed = generator.apply_transform(&source, &params).unwrap();
        assert_eq!(replayed.as_slice::<f32>(), image.as_slice::<f32>());
        image
    };
    let reference = image(3, true, 7, 2, 6);
    assert_eq!(image(10, true, 7, 2, 6), reference);
    assert_eq!(image(4, false, 7, 2, 6), reference);
    assert_ne!(image(3, true, 8, 2, 6), reference);
    assert_ne!(image(3, true, 7, 3, 6), reference);
}

#[test]
fn without_shuffling_the_order_is_kept() {
    let options = FlowOptions {
        shuffle: false,
        batch_size: 3,
        ..FlowOptions::default()
    };
    let flow = ImageDataGenerator::new()
        .flow(images(5), None, options)
        .unwrap();
    assert_eq!(flow.batch(4, 0).unwrap().indices, [0, 1, 2]);
    assert_eq!(flow.batch(4, 1).unwrap().indices, [3, 4]);
}

#[test]
fn flow_refuses_what_it_cannot_use() {
    let message = |x: Array, y: Option<Array>, options: FlowOptions| {
        ImageDataGenerator::new()
            .flow(x, y, options)
            .unwrap_err()
            .to_string()
    };
    let default = FlowOptions::default;
    assert_eq!(
        message(labels(3), None, default()),
        "setting up flow: x has the wrong shape (expected [samples, height, width, channels], found [3])"
    );
    let integers = Array::from_vec(&[1, 1, 1, 1], vec![0_i64]).unwrap();
    assert_eq!(
        message(integers, None, default()),
        "setting up flow: x has the wrong element type (expected u8 or f32, found i64)"
    );
    assert_eq!(
        message(images(3), Some(labels(4)), default()),
        "checking array lengths: targets has another number of rows than inputs (expected 3, found 4)"
    );
    assert!(
        message(
            images(3),
            None,
            FlowOptions {
                batch_size: 0,
                ..default()
            }
        )
        .contains("batch_size")
    );
    assert!(message(images(0), None, default()).contains("inputs must not be empty"));
    let thin = Array::from_vec(&[3, 5, 0, 1], Vec::<u8>::new()).unwrap();
    assert!(message(thin, None, default()).contains("found 5×0×1"));
    let weights = FlowOptions {
        sample_weight: Some(labels(2)),
        ..default()
    };
    assert!(message(images(3), None, weights).contains("sample_weight"));
    assert!(
        ImageDataGenerator::new()
            .zoom_range(2.0)
            .flow(images(3), None, default())
            .is_err()
    );
}
