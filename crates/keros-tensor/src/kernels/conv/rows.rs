//! Output images cut into blocks of rows, one per task.

use std::marker::PhantomData;
use std::ops::Range;

use super::geometry::Geometry;
use crate::parallel::Parts;

/// The outputs of all images cut into blocks of rows, no block across two images.
pub(super) struct RowBlocks<'a> {
    data: *mut f32,
    images: usize,
    rows: usize,
    row_len: usize,
    block: usize,
    slice: PhantomData<&'a mut [f32]>,
}

/// Some rows of one output image.
pub(super) struct RowBlock<'a> {
    pub(super) image: usize,
    pub(super) rows: Range<usize>,
    pub(super) outputs: &'a mut [f32],
}

impl<'a> RowBlocks<'a> {
    /// Blocks of `block` rows (at least 1) of all output images, which are `y`.
    pub(super) fn new(y: &'a mut [f32], g: &Geometry, block: usize) -> Self {
        assert_eq!(y.len(), g.n * g.output());
        Self {
            data: y.as_mut_ptr(),
            images: g.n,
            rows: g.oh,
            row_len: g.ow * g.co,
            block,
            slice: PhantomData,
        }
    }
}

// SAFETY: shared references only give out disjoint blocks, each to one thread.
unsafe impl Sync for RowBlocks<'_> {}

// SAFETY: blocks with different indices do not overlap.
unsafe impl<'a> Parts for RowBlocks<'a> {
    type Part = RowBlock<'a>;

    fn parts(&self) -> Option<usize> {
        Some(self.images * self.rows.div_ceil(self.block))
    }

    unsafe fn part(&self, index: usize) -> RowBlock<'a> {
        let blocks = self.rows.div_ceil(self.block);
        let image = index / blocks;
        let first = index % blocks * self.block;
        let rows = first..self.rows.min(first + self.block);
        let start = (image * self.rows + rows.start) * self.row_len;
        // SAFETY: inside the slice, whose length `new` checked, and disjoint from other blocks.
        let outputs = unsafe {
            std::slice::from_raw_parts_mut(self.data.add(start), rows.len() * self.row_len)
        };
        RowBlock {
            image,
            rows,
            outputs,
        }
    }
}
