//! What an `ImageDataGenerator` does besides the warp.

use keros_data::rng::{Purpose, stream};
use keros_data::{
    Array, Arrays, BrightnessStyle, DataError, DataFormat, FitImages, FlowOptions,
    ImageDataGenerator, ImageParams, ImageShape, PixelParams, Sequence, Subset,
};

const SHAPE: ImageShape = ImageShape {
    height: 3,
    width: 2,
    channels: 2,
};

/// `samples` images of 3×2×2 bytes.
fn images(samples: usize) -> Array {
    let values = (0..samples * 12).map(|i| (i * 37 % 256) as u8).collect();
    Array::from_vec(&[samples, 3, 2, 2], values).unwrap()
}

fn image(samples: &Array, sample: usize) -> Array {
    let values = samples.slice(sample..sample + 1).unwrap();
    let values = values.as_slice::<u8>().unwrap().to_vec();
    Array::from_vec(&[3, 2, 2], values).unwrap()
}

fn floats(array: &Array) -> Vec<f32> {
    array.as_slice::<f32>().unwrap().to_vec()
}

/// The images of an epoch in order.
fn epoch(generator: &ImageDataGenerator, x: Array) -> Result<Vec<f32>, DataError> {
    let options = FlowOptions {
        shuffle: false,
        batch_size: 100,
        ..FlowOptions::default()
    };
    let batch = generator.flow(x, None, options)?.batch(0, 0)?;
    Ok(floats(batch.inputs.first()))
}

#[test]
fn the_function_of_the_user_comes_before_the_rescaling() {
    let generator = ImageDataGenerator::new()
        .rescale(0.5)
        .preprocessing_function(|values, shape| {
            assert_eq!(shape, SHAPE);
            values.iter_mut().for_each(|value| *value += 1.0);
        });
    let x = images(2);
    let made = epoch(&generator, x.clone()).unwrap();
    let bytes = x.as_slice::<u8>().unwrap();
    let expected: Vec<f32> = bytes.iter().map(|b| (f32::from(*b) + 1.0) * 0.5).collect();
    assert_eq!(made, expected);
    let one = generator.standardize(&image(&x, 1)).unwrap();
    assert_eq!(floats(&one), expected[12..]);
}

#[test]
fn a_fit_centres_every_channel_and_its_lack_is_an_error() {
    let x = images(20);
    let mut generator = ImageDataGenerator::new()
        .rescale(1.0 / 255.0)
        .featurewise_std_normalization(true);
    let error = epoch(&generator, x.clone()).unwrap_err().to_string();
    assert!(error.contains("featurewise_std_normalization"), "{error}");
    assert!(error.contains("expected those of a fit"), "{error}");
    generator.fit(&x, FitImages::default()).unwrap();
    let made = epoch(&generator, x.clone()).unwrap();
    for channel in 0..2 {
        let values: Vec<f64> = made
            .iter()
            .skip(channel)
            .step_by(2)
            .map(|v| f64::from(*v))
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(
            mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-4,
            "{mean} {variance}"
        );
    }
    // The statistics can be kept with the model and used elsewhere.
    let statistics = generator.fitted().unwrap().clone();
    let other = ImageDataGenerator::new()
        .rescale(1.0 / 255.0)
        .featurewise_std_normalization(true)
        .statistics(statistics);
    assert_eq!(epoch(&other, x.clone()).unwrap(), made);

    let error = generator
        .fit(&image(&x, 0), FitImages::default())
        .unwrap_err();
    assert!(error.to_string().contains("fitting"), "{error}");
    let no_rounds = FitImages {
        rounds: 0,
        ..FitImages::default()
    };
    assert!(
        generator
            .fit(&x, no_rounds)
            .unwrap_err()
            .to_string()
            .contains("rounds")
    );
    let augmented = FitImages {
        augment: true,
        rounds: 2,
        seed: 1,
    };
    let before = generator.fitted().unwrap().clone();
    generator = generator.channel_shift_range(80.0);
    generator.fit(&x, augmented).unwrap();
    assert_ne!(*generator.fitted().unwrap(), before);
}

#[test]
fn a_value_that_is_no_number_has_no_statistics() {
    let augmented = FitImages {
        augment: true,
        ..FitImages::default()
    };
    for (value, found) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let mut values = vec![1.0; 36];
        values[12 + 4 + 3] = value;
        let x = Array::from_vec(&[3, 3, 2, 2], values).unwrap();
        let mut generator = ImageDataGenerator::new().featurewise_center(true);
        generator.fit(&images(3), FitImages::default()).unwrap();
        let before = generator.fitted().cloned();
        for options in [FitImages::default(), augmented] {
            let error = generator.fit(&x, options).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "preparing sample 1: computing statistics: a value of an image is not finite \
                     (expected numbers, found {found} at row 1, column 1, channel 1)"
                )
            );
            assert_eq!(generator.fitted().cloned(), before);
        }
    }
}

#[test]
fn a_fit_augments_before_it_rescales_as_a_flow_does() {
    let augmented = FitImages {
        augment: true,
        ..FitImages::default()
    };
    let halves = |generator: ImageDataGenerator| {
        let mut generator = generator.channel_shift_range(50.0).featurewise_center(true);
        generator.fit(&images(3), augmented).unwrap();
        generator.fitted().unwrap().mean().to_vec()
    };
    let plain = halves(ImageDataGenerator::new());
    let rescaled = halves(ImageDataGenerator::new().rescale(0.5));
    let expected: Vec<f32> = plain.iter().map(|mean| mean * 0.5).collect();
    assert_eq!(rescaled, expected);
}

#[test]
fn whitened_images_are_uncorrelated() {
    let x = images(60);
    let mut generator = ImageDataGenerator::new()
        .zca_whitening(true)
        .zca_epsilon(1e-9);
    generator.fit(&x, FitImages::default()).unwrap();
    assert!(generator.fitted().unwrap().zca_matrix().is_some());
    let made = epoch(&generator, x).unwrap();
    let mean = |i: usize, j: usize| {
        let rows = made.chunks_exact(12);
        let sum: f64 = rows.map(|row| f64::from(row[i]) * f64::from(row[j])).sum();
        sum / 60.0
    };
    let own: f64 = (0..12).map(|i| mean(i, i)).sum();
    let others: f64 = (0..12)
        .flat_map(|i| (0..i).map(move |j| mean(i, j).abs()))
        .sum();
    assert!(others < 0.2 * own, "{others} {own}");
}

#[test]
fn shift_and_brightness_are_drawn_last_and_stay_the_same_for_ever() {
    let generator = ImageDataGenerator::new()
        .channel_shift_range(30.0)
        .brightness_range(0.2, 1.8);
    let mut rng = stream(42, Purpose::Augmentation, 3, 17);
    let params = generator.get_random_transform(SHAPE, &mut rng).unwrap();
    let plain = ImageDataGenerator::new();
    let mut rng = stream(42, Purpose::Augmentation, 3, 17);
    let flips_only = plain.get_random_transform(SHAPE, &mut rng).unwrap();
    assert_eq!(params.transform, flips_only.transform);
    let shift = params.pixels.channel_shift;
    let brightness = params.pixels.brightness.unwrap();
    assert_eq!(
        (shift, brightness),
        (-26.95228432679388, 1.3338395603681226)
    );
    for (low, high) in [(-0.1, 1.0), (1.0, 0.5), (0.0, f64::INFINITY)] {
        let wrong = ImageDataGenerator::new().brightness_range(low, high);
        let error = epoch(&wrong, images(1)).unwrap_err().to_string();
        assert!(error.contains("brightness_range"), "{error}");
    }
    for split in [0.0, 1.0, f64::NAN] {
        let wrong = ImageDataGenerator::new().validation_split(split);
        let error = epoch(&wrong, images(1)).unwrap_err().to_string();
        assert!(error.contains("validation_split"), "{error}");
    }
}

#[test]
fn brightness_needs_the_values_of_black_and_white() {
    let floats_of = |values: Vec<f32>| Array::from_vec(&[values.len() / 12, 3, 2, 2], values);
    let x = floats_of((0..24).map(|i| i as f32 * 1000.0).collect()).unwrap();
    let one = Array::from_vec(&[3, 2, 2], vec![300.0_f32; 12]).unwrap();
    let params = ImageParams {
        pixels: PixelParams {
            brightness: Some(2.0),
            ..PixelParams::default()
        },
        ..ImageParams::default()
    };
    let mut generator = ImageDataGenerator::new().brightness_range(2.0, 2.0);
    let error = epoch(&generator, x.clone()).unwrap_err().to_string();
    assert_eq!(
        error,
        "preparing sample 0: changing the brightness of an image: values lie outside of value_range \
         (expected 0 to 255, found 0 to 11000)"
    );
    let refused = |result: Result<(), DataError>| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("value_range"), "{error}");
    };
    refused(generator.apply_transform(&one, &params).map(drop));
    let augmented = FitImages {
        augment: true,
        ..FitImages::default()
    };
    refused(generator.fit(&x, augmented));
    generator.fit(&x, FitImages::default()).unwrap();
    // What is not brightened may have any values.
    let validation = FlowOptions {
        subset: Some(Subset::Validation),
        ..FlowOptions::default()
    };
    let split = generator.clone().validation_split(0.5);
    assert!(split.flow(x.clone(), None, validation).is_ok());

    let told = generator.clone().value_range(0.0, 30_000.0);
    let made = epoch(&told, x.clone()).unwrap();
    let expected = (0..24).map(|i| (i as f32 * 2000.0).min(30_000.0));
    assert_eq!(made, expected.collect::<Vec<_>>());
    let keras = generator.brightness_style(BrightnessStyle::TfKeras);
    assert!(epoch(&keras, x.clone()).is_ok());
    refused(epoch(&told.value_range(1.0, 1.0), x).map(drop));
}

#[test]
fn channels_first_is_the_same_turned() {
    let last = images(3);
    let bytes = last.as_slice::<u8>().unwrap();
    let turn = |values: Vec<f32>| -> Vec<f32> {
        let image = |image: &[f32]| {
            let channel = |c: usize| image.iter().skip(c).step_by(2).copied().collect::<Vec<_>>();
            [channel(0), channel(1)].concat()
        };
        values.chunks_exact(12).flat_map(image).collect()
    };
    let first: Vec<u8> = turn(bytes.iter().map(|b| f32::from(*b)).collect())
        .into_iter()
        .map(|value| value as u8)
        .collect();
    let first = Array::from_vec(&[3, 2, 3, 2], first).unwrap();
    let generator = ImageDataGenerator::new()
        .rotation_range(30.0)
        .samplewise_std_normalization(true);
    let expected = turn(epoch(&generator, last.clone()).unwrap());
    let generator = generator.data_format(DataFormat::ChannelsFirst);
    assert_eq!(epoch(&generator, first.clone()).unwrap(), expected);
    let one = first
        .slice(0..1)
        .unwrap()
        .as_slice::<u8>()
        .unwrap()
        .to_vec();
    let one = Array::from_vec(&[2, 3, 2], one).unwrap();
    let standard = generator.standardize(&one).unwrap();
    assert_eq!(standard.shape(), [2, 3, 2]);
    let batch = generator.flow(first, None, FlowOptions::default()).unwrap();
    assert_eq!(
        batch.batch(0, 0).unwrap().inputs.first().shape(),
        [3, 2, 3, 2]
    );
}

#[test]
fn other_inputs_are_carried_along() {
    let age = Array::from_vec(&[5], vec![0.0_f32, 1.0, 2.0, 3.0, 4.0]).unwrap();
    let x = Arrays::from_pairs([("picture", images(5)), ("age", age)]).unwrap();
    let options = FlowOptions {
        batch_size: 3,
        ..FlowOptions::default()
    };
    let flow = ImageDataGenerator::new().flow(x, None, options).unwrap();
    let batch = flow.batch(0, 1).unwrap();
    assert_eq!(batch.inputs.names().collect::<Vec<_>>(), ["picture", "age"]);
    let ages = floats(batch.inputs.get("age").unwrap());
    let indices: Vec<f32> = batch.indices.iter().map(|i| *i as f32).collect();
    assert_eq!(ages, indices);
}

#[test]
fn a_subset_has_the_classes_of_the_rest_and_its_own_weights() {
    let flow = |labels: Vec<i64>, ignore_class_split, subset| {
        let rows = labels.len();
        let weights = (0..rows).map(|i| i as f32).collect();
        let options = FlowOptions {
            sample_weight: Some(Array::from_vec(&[rows], weights).unwrap()),
            shuffle: false,
            subset: Some(subset),
            ignore_class_split,
            ..FlowOptions::default()
        };
        let labels = Array::from_vec(&[rows], labels).unwrap();
        let generator = ImageDataGenerator::new().validation_split(0.4);
        generator.flow(images(rows), Some(labels), options)
    };
    let good = flow(vec![0, 1, 0, 1, 1], false, Subset::Training).unwrap();
    let batch = good.batch(0, 0).unwrap();
    assert_eq!(batch.indices, [0, 1, 2]);
    assert_eq!(
        floats(batch.sample_weight.unwrap().first()),
        [2.0, 3.0, 4.0]
    );
    let error = flow(vec![0, 0, 0, 1, 1], false, Subset::Validation).unwrap_err();
    assert!(error.to_string().contains("ignore_class_split"), "{error}");
    let good = flow(vec![0, 0, 0, 1, 1], true, Subset::Validation).unwrap();
    assert_eq!(good.num_samples(), Some(2));
    let error = flow(vec![0, 1], true, Subset::Validation).unwrap_err();
    assert!(error.to_string().contains("subset"), "{error}");
}

/// A flow over the validation or the training half of some targets.
fn half(y: Array, subset: Subset) -> Result<(), DataError> {
    let options = FlowOptions {
        subset: Some(subset),
        ..FlowOptions::default()
    };
    let generator = ImageDataGenerator::new().validation_split(0.5);
    generator.flow(images(y.len()), Some(y), options).map(drop)
}

#[test]
fn a_class_is_a_value_or_the_place_of_a_one() {
    let bytes = |shape: &[usize], values: &[u8]| Array::from_vec(shape, values.to_vec()).unwrap();
    let floats = |shape: &[usize], values: &[f32]| Array::from_vec(shape, values.to_vec()).unwrap();
    for subset in [Subset::Training, Subset::Validation] {
        // No mask is like another, but all have the same classes.
        let masks = bytes(&[4, 1, 3], &[0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0]);
        half(masks, subset).unwrap();
        half(floats(&[2, 2, 1], &[0.0, 1.0, 1.0, 0.0]), subset).unwrap();
        half(bytes(&[4, 1], &[3, 7, 7, 3]), subset).unwrap();
        // Several labels for a row.
        half(floats(&[2, 3], &[1.0, 1.0, 0.0, 0.0, 0.0, 1.0]), subset).unwrap();
        // Measurements have no classes.
        half(floats(&[4], &[0.5, 1.0, 2.5, 7.25]), subset).unwrap();
        half(floats(&[2, 2], &[0.5, 1.0, 2.5, 7.25]), subset).unwrap();

        for other in [
            bytes(&[2, 2, 2], &[0, 1, 0, 1, 0, 0, 0, 2]),
            floats(&[4], &[0.0, 0.0, 1.0, 1.0]),
            floats(&[2, 3], &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0]),
            bytes(&[4, 1], &[3, 3, 7, 7]),
        ] {
            let error = half(other, subset).unwrap_err().to_string();
            assert!(error.contains("the same classes"), "{error}");
        }
    }
    let error = half(bytes(&[4], &[0, 0, 1, 2]), Subset::Training).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("found 2 and 1 classes, not the same"),
        "{error}"
    );
    let error = half(bytes(&[1], &[0]), Subset::Training).unwrap_err();
    assert_eq!(
        error.to_string(),
        "setting up flow: the validation part of 1 samples must not be empty (expected at least 1, \
         found 0)"
    );
}
