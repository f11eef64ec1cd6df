//! Distributions of the random numbers.

use keros_tensor::Stream;

const COUNT: usize = 200_000;

fn moments(values: &[f32]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = values
        .iter()
        .map(|&v| (f64::from(v) - mean).powi(2))
        .sum::<f64>()
        / n;
    (mean, variance.sqrt())
}

/// χ² of equal bins for values that should be uniform in [0, 1).
fn chi_squared(values: impl Iterator<Item = f64>) -> f64 {
    let mut bins = [0f64; 100];
    let mut count = 0.0;
    for value in values {
        bins[(value * 100.0) as usize] += 1.0;
        count += 1.0;
    }
    let expected = count / 100.0;
    bins.iter().map(|b| (b - expected).powi(2) / expected).sum()
}

#[test]
fn uniform_numbers_fill_their_range_evenly() {
    let mut values = vec![0.0; COUNT];
    Stream::new(1, 0).fill_uniform(0, -2.0, 3.0, &mut values);
    assert!(values.iter().all(|v| (-2.0..3.0).contains(v)));
    let (mean, std) = moments(&values);
    assert!((mean - 0.5).abs() < 0.02, "{mean}");
    assert!((std - 5.0 / 12f64.sqrt()).abs() < 0.02, "{std}");
    let chi = chi_squared(values.iter().map(|&v| (f64::from(v) + 2.0) / 5.0));
    // 99 degrees of freedom: 99.99 % are below 161.
    assert!(chi < 161.0, "{chi}");
}

#[test]
fn a_range_without_width_gives_its_lower_end() {
    let drawn = |low, high| {
        let mut values = [1.0; 8];
        Stream::new(1, 0).fill_uniform(0, low, high, &mut values);
        values
    };
    for high in [0.5, 0.25, f32::NEG_INFINITY, f32::NAN] {
        assert_eq!(drawn(0.5, high), [0.5; 8], "{high}");
    }
    assert!(drawn(f32::NAN, 0.5).iter().all(|value| value.is_nan()));
}

#[test]
fn normal_numbers_have_their_moments_and_tails() {
    let mut values = vec![0.0; COUNT];
    Stream::new(2, 5).fill_normal(0, 1.0, 2.0, &mut values);
    let (mean, std) = moments(&values);
    assert!((mean - 1.0).abs() < 0.02, "{mean}");
    assert!((std - 2.0).abs() < 0.02, "{std}");
    let beyond = values.iter().filter(|&&v| (v - 1.0).abs() > 4.0).count() as f64 / COUNT as f64;
    assert!((beyond - 0.0455).abs() < 0.003, "{beyond}");
}

#[test]
fn truncated_numbers_stay_within_two_deviations() {
    let mut values = vec![0.0; COUNT];
    Stream::new(2, 6).fill_truncated_normal(0, 1.0, 0.5, &mut values);
    assert!(values.iter().all(|v| (0.0..=2.0).contains(v)));
    let (mean, std) = moments(&values);
    assert!((mean - 1.0).abs() < 0.01, "{mean}");
    assert!((std - 0.5 * 0.879_625_66).abs() < 0.005, "{std}");
}

#[test]
fn streams_and_neighbours_are_uncorrelated() {
    let mut columns = Vec::new();
    for (seed, stream) in [(0, 0), (0, 1), (1, 0), (u64::MAX, 7)] {
        let mut values = vec![0.0; COUNT];
        Stream::new(seed, stream).fill_uniform(0, -0.5, 0.5, &mut values);
        columns.push(values);
    }
    let correlation = |a: &[f32], b: &[f32]| {
        let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum();
        sum * 12.0 / a.len() as f64
    };
    for (i, a) in columns.iter().enumerate() {
        for lag in [1, 4, 16, 64] {
            let r = correlation(a, &a[lag..]);
            assert!(r.abs() < 0.012, "stream {i} lag {lag}: {r}");
        }
        for b in &columns[..i] {
            let r = correlation(a, b);
            assert!(r.abs() < 0.012, "{r}");
        }
    }
}
