//! What lies outside an image: fill modes as foldings of one coordinate, exactly as scipy.ndimage
//! folds.

use serde::{Deserialize, Serialize};

/// What is sampled outside the borders of an image.
///
/// The pictures show one row of pixels `a b c d` between bars and what lies left and right of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FillMode {
    /// `k k k k | a b c d | k k k k`: the constant `cval`.
    ///
    /// As in scipy there is no blending at the border: a pixel whose coordinate lies outside,
    /// however little, is `cval`.
    Constant,
    /// `a a a a | a b c d | d d d d`: the nearest pixel. Keras's default.
    #[default]
    Nearest,
    /// `d c b a | a b c d | d c b a`: the mirror image, border pixels doubled.
    Reflect,
    /// `b c d | a b c d | a b c`: periodic with one pixel less than the length, so that the first
    /// and the last pixel coincide, as scipy (and hence Keras) does it.
    Wrap,
}

/// The coordinate mirrored into `[0, last]`, `last` being the index of the last pixel.
///
/// Beyond either border both linear neighbours are the border pixel: the clamped coordinate samples
/// the same value.
pub(crate) fn reflect(coordinate: f64, last: f64) -> f64 {
    clamp(reflect_half(coordinate, last), last)
}

/// The coordinate mirrored into `[-1, last + 1]`, as scipy leaves it.
pub(crate) fn reflect_half(coordinate: f64, last: f64) -> f64 {
    let length = last + 1.0;
    let period = 2.0 * length;
    let mut c = coordinate;
    if c < 0.0 {
        if c < -period {
            c += period * (-c / period).floor();
        }
        c = if c < -length { c + period } else { -c - 1.0 };
    } else if c > last {
        c -= period * (c / period).floor();
        if c >= length {
            c = period - c - 1.0;
        }
    }
    // Wild coordinates are beyond the precision of the folding.
    if c >= -1.0 && c <= length { c } else { 0.0 }
}

/// The coordinate moved into `[0, last]` by multiples of `last`, the index of the last pixel.
pub(crate) fn wrap(coordinate: f64, last: f64) -> f64 {
    if last <= 0.0 {
        return 0.0;
    }
    let mut c = coordinate;
    if c < 0.0 {
        c += last * ((-c / last).floor() + 1.0);
    } else if c > last {
        c -= last * (c / last).floor();
    }
    clamp(c, last)
}

/// The coordinate moved to the nearest border when outside `[0, last]`; NaN becomes 0.
///
/// Written as two comparisons because each then is one instruction (`f64::clamp` spends more on
/// NaN).
#[inline(always)]
#[allow(clippy::manual_clamp)]
pub(crate) fn clamp(coordinate: f64, last: f64) -> f64 {
    let c = if coordinate > 0.0 { coordinate } else { 0.0 };
    if c < last { c } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixel indices sampled at whole coordinates from -7 to 10 of a row of four.
    fn picture(fold: fn(f64, f64) -> f64) -> Vec<usize> {
        (-7..=10)
            .map(|c| fold(f64::from(c), 3.0) as usize)
            .collect()
    }

    #[test]
    fn folding_whole_coordinates_gives_the_documented_pictures() {
        assert_eq!(
            picture(clamp),
            [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 3, 3, 3, 3, 3, 3, 3]
        );
        assert_eq!(
            picture(reflect),
            [1, 2, 3, 3, 2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 2]
        );
        // scipy: -3 is moved to 3 by one period, not to 0 (both are the same place of the wrapped
        // row).
        assert_eq!(
            picture(wrap),
            [2, 3, 1, 2, 3, 1, 2, 0, 1, 2, 3, 1, 2, 0, 1, 2, 0, 1]
        );
    }

    #[test]
    fn folding_stays_in_range_for_any_coordinate() {
        let wild = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN,
            1e18,
            -1e18,
            -1e-300,
            -0.0,
            1e-300,
            f64::EPSILON,
            2.0_f64.powi(52) + 1.0,
            -4.000_000_000_000_001,
            3.999_999_999_999_999_6,
        ];
        for last in [0.0, 1.0, 3.0, 27.0, 2_147_483_646.0] {
            for c in wild {
                for fold in [clamp, reflect, wrap] {
                    let folded = fold(c, last);
                    assert!(
                        (0.0..=last).contains(&folded),
                        "{c} in [0, {last}] became {folded}"
                    );
                }
            }
        }
    }
}
