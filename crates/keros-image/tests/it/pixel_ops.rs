//! What the operations on values promise: neutral parameters change nothing, bounds hold, draws
//! stay in their ranges, and what cannot work is refused.

use keros_image::{
    BrightnessStyle, ColorJitter, ColorJitterParams, CutMix, CutMixParams, EraseParams, Fit,
    ImageShape, MixUp, MixUpParams, PixelOps, PixelParams, RandomErasing, Standardize, Statistics,
    Whitening,
};

use crate::noise::noise;

fn floats(values: usize) -> Vec<f32> {
    noise(values).into_iter().map(f32::from).collect()
}

/// Uniform numbers.
fn units() -> impl FnMut() -> f64 {
    let mut state = 7_u64;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const SHAPE: ImageShape = ImageShape {
    height: 6,
    width: 5,
    channels: 3,
};

fn changed(params: &PixelParams, image: &[f32]) -> Vec<f32> {
    let mut out = image.to_vec();
    PixelOps::new().apply(params, &mut out, SHAPE).unwrap();
    out
}

fn jitter(color_jitter: ColorJitterParams) -> PixelParams {
    PixelParams {
        color_jitter: Some(color_jitter),
        ..PixelParams::default()
    }
}

#[test]
fn neutral_parameters_change_nothing() {
    let image = floats(90);
    assert_eq!(changed(&PixelParams::default(), &image), image);
    let bright = PixelParams {
        brightness: Some(1.0),
        ..PixelParams::default()
    };
    assert_eq!(changed(&bright, &image), image);
    for (found, expected) in changed(&jitter(ColorJitterParams::default()), &image)
        .iter()
        .zip(&image)
    {
        assert!((found - expected).abs() < 1e-4);
    }
}

#[test]
fn a_third_of_the_circle_exchanges_the_channels() {
    let image = floats(90);
    let turned = changed(
        &jitter(ColorJitterParams {
            hue: 1.0 / 3.0,
            ..Default::default()
        }),
        &image,
    );
    for (turned, pixel) in turned.chunks_exact(3).zip(image.chunks_exact(3)) {
        for (found, expected) in turned.iter().zip([pixel[2], pixel[0], pixel[1]]) {
            assert!(
                (found - expected).abs() < 1e-2,
                "{pixel:?} became {turned:?}"
            );
        }
    }
}

#[test]
fn no_saturation_and_no_contrast_are_gray() {
    let image = floats(90);
    let gray = changed(
        &jitter(ColorJitterParams {
            saturation: 0.0,
            ..Default::default()
        }),
        &image,
    );
    assert!(
        gray.chunks_exact(3)
            .all(|pixel| (pixel[0] - pixel[1]).abs() + (pixel[1] - pixel[2]).abs() < 1e-3)
    );
    let flat = changed(
        &jitter(ColorJitterParams {
            contrast: 0.0,
            ..Default::default()
        }),
        &image,
    );
    assert!(flat.iter().all(|value| (value - flat[0]).abs() < 1e-3));
}

#[test]
fn boxes_lie_in_the_image_and_are_filled() {
    let mut unit = units();
    let erasing = RandomErasing {
        probability: 1.0,
        value: -1.0,
        ..RandomErasing::default()
    };
    let mut drawn = 0;
    for _ in 0..200 {
        if let Some(erase) = erasing.draw(SHAPE, &mut unit).unwrap() {
            drawn += 1;
            let count = erase.height * erase.width * 3;
            let out = changed(
                &PixelParams {
                    erase: Some(erase),
                    ..Default::default()
                },
                &floats(90),
            );
            assert_eq!(out.iter().filter(|value| **value == -1.0).count(), count);
        }
    }
    assert!(drawn > 100, "{drawn}");
}

#[test]
fn mixtures_weigh_images_and_labels_alike() {
    let mut unit = units();
    let (mut sum, draws) = (0.0, 2000);
    for _ in 0..draws {
        let MixUpParams { weight } = MixUp::default().draw(&mut unit).unwrap();
        assert!((0.0..=1.0).contains(&weight));
        sum += weight;
    }
    assert!((sum / f64::from(draws) - 0.5).abs() < 0.04, "{sum}");
    let mut label = [1.0, 0.0];
    MixUpParams { weight: 0.75 }
        .apply(&mut label, &[0.0, 1.0])
        .unwrap();
    assert_eq!(label, [0.75, 0.25]);
    for _ in 0..200 {
        let cut = CutMix::default().draw(SHAPE, &mut unit).unwrap();
        let (mut image, mut label) = ([1.0; 90], [1.0]);
        cut.apply(&mut image, &[0.0; 90], SHAPE).unwrap();
        cut.apply_to_labels(&mut label, &[0.0], SHAPE).unwrap();
        assert!((image.iter().sum::<f32>() / 90.0 - label[0]).abs() < 1e-6);
    }
}

#[test]
fn refusals_leave_the_image_alone() {
    let image = floats(90);
    let bad = [
        PixelParams {
            brightness: Some(-1.0),
            ..Default::default()
        },
        PixelParams {
            channel_shift: f64::NAN,
            ..Default::default()
        },
        jitter(ColorJitterParams {
            hue: 0.7,
            ..Default::default()
        }),
        PixelParams {
            erase: Some(EraseParams {
                top: 5,
                left: 0,
                height: 2,
                width: 1,
                value: 0.0,
            }),
            ..Default::default()
        },
    ];
    for params in bad {
        let mut out = image.clone();
        PixelOps::new().apply(&params, &mut out, SHAPE).unwrap_err();
        assert_eq!(out, image);
    }
    PixelOps::new().value_range(1.0, 1.0).check().unwrap_err();
    MixUp { alpha: 0.0 }.draw(units()).unwrap_err();
    ColorJitter {
        hue: 0.6,
        ..Default::default()
    }
    .draw(units())
    .unwrap_err();
    CutMixParams {
        top: 0,
        left: 0,
        height: usize::MAX,
        width: 1,
    }
    .weight(SHAPE)
    .unwrap_err();
}

#[test]
fn alpha_has_no_brightness() {
    let shape = ImageShape::new(2, 2, 4);
    #[rustfmt::skip]
    let image = [10.0, 100.0, 201.7, 130.6, 60.0, 0.0, 255.0, 77.0,
                 5.0, 250.0, 32.0, 255.0, 90.2, 20.0, 10.0, 0.0];
    let wide = image.map(|value| value * 2.0 - 60.0);
    // What Keras makes of them with Pillow 11.3.
    #[rustfmt::skip]
    let (dark, bright, wide_dark, wide_bright) = (
        [5.0, 50.0, 100.0, 130.0, 30.0, 0.0, 127.0, 77.0,
         2.0, 125.0, 16.0, 255.0, 45.0, 10.0, 5.0, 0.0],
        [16.0, 160.0, 255.0, 130.0, 96.0, 0.0, 255.0, 77.0,
         8.0, 255.0, 51.0, 255.0, 144.0, 32.0, 16.0, 0.0],
        [-50.0, 40.0, 140.0, 200.0, 0.0, -60.0, 194.0, 94.0,
         -56.0, 190.0, -28.0, 450.0, 30.0, -40.0, -50.0, -60.0],
        [-28.0, 260.0, 450.0, 200.0, 132.0, -60.0, 450.0, 94.0,
         -44.0, 450.0, 42.0, 450.0, 228.0, 4.0, -28.0, -60.0],
    );
    #[rustfmt::skip]
    let exact = [20.0, 200.0, 255.0, 130.6, 120.0, 0.0, 255.0, 77.0,
                 10.0, 255.0, 64.0, 255.0, 180.4, 40.0, 20.0, 0.0];
    let historical = BrightnessStyle::KerasPreprocessing112;
    let cases = [
        (BrightnessStyle::Keros, 2.0, image, exact),
        (historical, 0.5, image, dark),
        (historical, 1.6, image, bright),
        (historical, 0.5, wide, dark),
        (historical, 1.6, wide, bright),
        (BrightnessStyle::TfKeras, 0.5, image, dark),
        (BrightnessStyle::TfKeras, 1.6, image, bright),
        (BrightnessStyle::TfKeras, 0.5, wide, wide_dark),
        (BrightnessStyle::TfKeras, 1.6, wide, wide_bright),
    ];
    for (style, factor, mut image, expected) in cases {
        let params = PixelParams {
            brightness: Some(factor),
            ..PixelParams::default()
        };
        let ops = PixelOps::new().brightness_style(style);
        ops.apply(&params, &mut image, shape).unwrap();
        for (found, expected) in image.iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-4,
                "{style:?} {factor}: {image:?}"
            );
        }
    }
}

#[test]
fn values_outside_of_the_range_have_no_brightness() {
    let gray16 = [0.0, 300.0, 65_535.0];
    let error = PixelOps::new().check_values(&gray16).unwrap_err();
    assert_eq!(
        error.to_string(),
        "changing the brightness of an image: values lie outside of value_range (expected 0 to 255, \
         found 0 to 65535)"
    );
    let wide = PixelOps::new().value_range(0.0, 65_535.0);
    wide.check_values(&gray16).unwrap();
    wide.check_values(&[-0.5_f32]).unwrap_err();
    PixelOps::new().check_values(&[0_u8, 255]).unwrap();
    let unit = PixelOps::new().value_range(0.0, 1.0);
    unit.check_values(&[0_u8, 1]).unwrap();
    unit.check_values(&[0_u8, 2]).unwrap_err();
    let stretched = PixelOps::new().brightness_style(BrightnessStyle::TfKeras);
    stretched.check_values(&gray16).unwrap();
}

#[test]
fn statistics_are_needed_and_must_fit() {
    let steps = Standardize::new().featurewise_center(true);
    let mut image = floats(90);
    let error = steps.apply(None, &mut image, SHAPE).unwrap_err();
    assert!(error.to_string().contains("featurewise_center"), "{error}");
    let gray = Statistics::new(ImageShape::new(6, 5, 1), vec![1.0], vec![1.0], None).unwrap();
    steps.apply(Some(&gray), &mut image, SHAPE).unwrap_err();
    let steps = steps.zca_whitening(true);
    let colour = Statistics::new(SHAPE, vec![1.0; 3], vec![1.0; 3], None).unwrap();
    steps.apply(Some(&colour), &mut image, SHAPE).unwrap_err();
    assert_eq!(image, floats(90));
    Statistics::new(SHAPE, vec![1.0; 2], vec![1.0; 3], None).unwrap_err();
    Fit::new(&steps, SHAPE).unwrap().finish().unwrap_err();
    let large = Fit::new(&steps, ImageShape::new(224, 224, 3)).unwrap();
    large.zca_whitening(Whitening::default(), 1e-6).unwrap_err();
}

#[test]
fn a_whitening_matrix_is_finite_or_an_error() {
    let steps = Standardize::new().zca_whitening(true);
    let shape = ImageShape::new(1, 2, 1);
    let fitted = |whitening, epsilon, images: &[[f32; 2]]| {
        let fit = Fit::new(&steps, shape).unwrap();
        let mut fit = fit.zca_whitening(whitening, epsilon).unwrap();
        images.iter().for_each(|image| fit.add(image).unwrap());
        fit.finish()
    };
    let (constant, varied) = ([[3.0, 3.0]; 4], [[1.0, 2.0], [4.0, 1.0], [0.0, 7.0]]);
    for whitening in [Whitening::Variance, Whitening::SingularValue] {
        for epsilon in [0.0, 1e-300] {
            let error = fitted(whitening, epsilon, &constant).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "computing statistics: the whitening matrix is not finite (expected a larger \
                     zca_epsilon, found {epsilon})"
                )
            );
        }
        fitted(whitening, 1e-6, &constant).unwrap();
        fitted(whitening, 0.0, &varied).unwrap();
    }
}

#[test]
fn the_steps_of_standardization_are_asked_for_in_any_order() {
    let new = Standardize::new;
    let whitened = new().zca_whitening(true);
    let normalized = new().featurewise_std_normalization(true);
    let own = new().samplewise_std_normalization(true);
    let same = [
        (
            &whitened,
            new()
                .zca_whitening(true)
                .featurewise_std_normalization(true),
        ),
        (
            &whitened,
            new()
                .featurewise_std_normalization(true)
                .featurewise_center(false)
                .zca_whitening(true),
        ),
        (
            &whitened,
            new().zca_whitening(true).featurewise_center(false),
        ),
        (
            &normalized,
            new()
                .featurewise_std_normalization(true)
                .featurewise_center(false),
        ),
        (
            &normalized,
            new()
                .zca_whitening(true)
                .featurewise_std_normalization(true)
                .zca_whitening(false),
        ),
        (
            &own,
            new()
                .samplewise_std_normalization(true)
                .samplewise_center(false),
        ),
        (
            &new(),
            new()
                .featurewise_std_normalization(true)
                .featurewise_std_normalization(false),
        ),
    ];
    for (expected, steps) in same {
        assert_eq!(steps.needs_statistics(), expected.needs_statistics());
        let made = |steps: &Standardize| {
            let mut fit = Fit::new(steps, SHAPE)
                .unwrap()
                .zca_whitening(Whitening::default(), 1e-6)
                .unwrap();
            (0..3)
                .map(|shift| floats(93)[shift..shift + 90].to_vec())
                .for_each(|image| fit.add(&image).unwrap());
            let statistics = fit.finish().unwrap();
            let mut image = floats(90);
            steps.apply(Some(&statistics), &mut image, SHAPE).unwrap();
            image
        };
        assert_eq!(made(&steps), made(expected), "{steps:?}");
    }
}
