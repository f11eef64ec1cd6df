//! Keras's padding rules for windows that slide along an axis.

/// What a sliding window does at the borders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Padding {
    /// The window stays inside: `floor((n - k) / s) + 1` positions, `k` being the dilated size.
    #[default]
    Valid,
    /// `ceil(n / s)` positions; of the cells beyond the borders one half lies before and the other,
    /// which has the odd one, after.
    Same,
    /// `ceil(n / s)` positions; all cells beyond the border lie before it, so that no position sees
    /// a later cell. Meant for the time axis of sequences.
    Causal,
}

impl Padding {
    /// Number of positions of a window along an axis of `n` cells.
    ///
    /// The window has `window` cells `dilation` apart and moves by `stride`.
    /// `None` if it fits nowhere or an argument is 0.
    pub fn output_len(
        self,
        n: usize,
        window: usize,
        stride: usize,
        dilation: usize,
    ) -> Option<usize> {
        self.resolve(n, window, stride, dilation)
            .map(|(out, _)| out)
    }

    /// Number of cells along an axis that a transposed window makes of `n`, by Keras's rule: that
    /// of the input whose [`output_len`](Self::output_len) is `n`, the smallest one that the window
    /// and all its steps cover.
    ///
    /// `n * stride` cells, and without padding `max(k - stride, 0)` more, `k` being the dilated size.
    /// `None` if an argument is 0 or the number is too large.
    pub fn transposed_len(
        self,
        n: usize,
        window: usize,
        stride: usize,
        dilation: usize,
    ) -> Option<usize> {
        if n == 0 || window == 0 || stride == 0 || dilation == 0 {
            return None;
        }
        let extent = (window - 1).checked_mul(dilation)?.checked_add(1)?;
        let covered = n.checked_mul(stride)?;
        match self {
            Self::Valid => covered.checked_add(extent.saturating_sub(stride)),
            Self::Same | Self::Causal => Some(covered),
        }
    }

    /// Number of positions and cells before the border.
    pub(super) fn resolve(
        self,
        n: usize,
        window: usize,
        stride: usize,
        dilation: usize,
    ) -> Option<(usize, usize)> {
        if n == 0 || window == 0 || stride == 0 || dilation == 0 {
            return None;
        }
        let extent = (window - 1).checked_mul(dilation)?.checked_add(1)?;
        match self {
            Self::Valid => Some((n.checked_sub(extent)? / stride + 1, 0)),
            Self::Same => {
                let out = n.div_ceil(stride);
                let total = ((out - 1) * stride).checked_add(extent)?.saturating_sub(n);
                Some((out, total / 2))
            }
            Self::Causal => Some((n.div_ceil(stride), extent - 1)),
        }
    }
}
