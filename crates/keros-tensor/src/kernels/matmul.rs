//! Matrix products of slices on one thread, and matrices cut into tiles for several.

use std::marker::PhantomData;

use crate::parallel::Parts;

/// A strided matrix of a slice.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` rows of `columns` elements, `row_stride` apart, at the start of `data`.
    pub(super) fn new(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        let len = if rows == 0 || columns == 0 {
            0
        } else {
            (rows - 1) * row_stride + columns
        };
        Self {
            data: &data[..len],
            rows,
            columns,
            row_stride,
            column_stride: 1,
        }
    }

    /// The same elements with rows and columns swapped.
    pub(super) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// The rows `first..first + count`.
    pub(super) fn rows(self, first: usize, count: usize) -> Self {
        debug_assert!(first + count <= self.rows);
        Self {
            data: &self.data[(first * self.row_stride).min(self.data.len())..],
            rows: count,
            ..self
        }
    }

    /// The columns `first..first + count`.
    pub(super) fn columns(self, first: usize, count: usize) -> Self {
        self.transposed().rows(first, count).transposed()
    }
}

/// A matrix to write whose rows are contiguous.
pub(super) struct MatrixMut<'a> {
    data: *mut f32,
    rows: usize,
    columns: usize,
    row_stride: usize,
    slice: PhantomData<&'a mut [f32]>,
}

impl<'a> MatrixMut<'a> {
    /// `rows` rows of `columns` elements, `row_stride` apart, at the start of `data`.
    pub(super) fn new(data: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(
            rows == 0 || columns == 0 || (rows - 1) * row_stride + columns <= data.len(),
            "matrix is larger than its slice"
        );
        Self {
            data: data.as_mut_ptr(),
            rows,
            columns,
            row_stride,
            slice: PhantomData,
        }
    }

    /// The rows from the first to the last.
    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        (0..self.rows).map(|row| {
            // SAFETY: inside the slice, and rows do not overlap.
            unsafe {
                std::slice::from_raw_parts_mut(self.data.add(row * self.row_stride), self.columns)
            }
        })
    }
}

/// `out = a · b`, or `out += a · b`, on the calling thread.
pub(super) fn matmul(out: &mut MatrixMut<'_>, accumulate: bool, a: Matrix<'_>, b: Matrix<'_>) {
    assert!(
        a.columns == b.rows && out.rows == a.rows && out.columns == b.columns,
        "matrix product of mismatched shapes"
    );
    // SAFETY: the constructors checked that every element of each matrix is inside its slice, `out`
    // is borrowed mutably and so overlaps neither factor.
    unsafe {
        gemm::gemm(
            out.rows,
            out.columns,
            a.columns,
            out.data,
            1,
            out.row_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// A row-major matrix cut into tiles for [`for_each_part`](crate::parallel::for_each_part).
pub(super) struct Tiles<'a> {
    matrix: MatrixMut<'a>,
    tile_rows: usize,
    tile_columns: usize,
}

/// One tile, with the place of its first element in the matrix.
pub(super) struct Tile<'a> {
    pub(super) matrix: MatrixMut<'a>,
    pub(super) first_row: usize,
    pub(super) first_column: usize,
}

impl Tile<'_> {
    pub(super) fn rows(&self) -> usize {
        self.matrix.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.matrix.columns
    }
}

impl<'a> Tiles<'a> {
    /// Cuts a `rows` × `columns` matrix into tiles of at most these sizes.
    pub(super) fn new(
        data: &'a mut [f32],
        rows: usize,
        columns: usize,
        (tile_rows, tile_columns): (usize, usize),
    ) -> Self {
        Self {
            matrix: MatrixMut::new(data, rows, columns, columns),
            tile_rows,
            tile_columns,
        }
    }
}

// SAFETY: shared references only give out disjoint tiles, each to one thread.
unsafe impl Sync for Tiles<'_> {}

// SAFETY: tiles with different indices do not overlap.
unsafe impl<'a> Parts for Tiles<'a> {
    type Part = Tile<'a>;

    fn parts(&self) -> Option<usize> {
        let matrix = &self.matrix;
        Some(matrix.rows.div_ceil(self.tile_rows) * matrix.columns.div_ceil(self.tile_columns))
    }

    unsafe fn part(&self, index: usize) -> Tile<'a> {
        let matrix = &self.matrix;
        let tiles_per_row = matrix.columns.div_ceil(self.tile_columns);
        let first_row = index / tiles_per_row * self.tile_rows;
        let first_column = index % tiles_per_row * self.tile_columns;
        Tile {
            matrix: MatrixMut {
                // SAFETY: the first element of a tile that is not empty is inside the slice.
                data: unsafe {
                    matrix
                        .data
                        .add(first_row * matrix.row_stride + first_column)
                },
                rows: self.tile_rows.min(matrix.rows - first_row),
                columns: self.tile_columns.min(matrix.columns - first_column),
                row_stride: matrix.row_stride,
                slice: PhantomData,
            },
            first_row,
            first_column,
        }
    }
}
