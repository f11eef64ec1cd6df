//! The vector instructions that kernels are compiled for, and how to choose other ones than the widest.
//!
//! | | portable | NEON | AVX2 | AVX-512 |
//! |---|---|---|---|---|
//! | loops over elements | the build's target | – | compiled again | compiled again |
//! | convolutions | patches and matrix products | micro-kernels | micro-kernels | micro-kernels |
//!
//! NEON is a part of every aarch64, so plain loops compiled for that target hold its instructions
//! already, and only the micro-kernels of the convolutions have a version of their own.
//! Matrix products are those of the crate gemm, which looks for instructions itself (AVX-512, AVX2,
//! NEON) and takes no notice of a choice made here.
//!
//! Loops over elements give the same bits at every level; convolutions differ in the last bits, since
//! the micro-kernels fuse a multiplication and an addition and add up in another order.
//!
//! ```
//! use keros_tensor::simd::{Level, with_level};
//!
//! let level = with_level(Level::Portable, Level::current)?;
//! assert_eq!(level, Level::Portable);
//! assert_eq!(Level::current(), Level::widest());
//! # Ok::<(), keros_tensor::TensorError>(())
//! ```

use std::cell::Cell;
use std::fmt;
use std::sync::OnceLock;

use crate::TensorError;

/// Defines functions that are compiled once for the build's target and, on x86-64, once more for
/// AVX2 and for AVX-512; a call runs the one of [`Level::current`].
///
/// The compiler neither turns a multiplication and an addition into a fused one by itself nor changes
/// the order of a sum, so all versions give the same bits.
macro_rules! multiversion {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident $(<$($generic:ident : $bound:path),+>)? (
            $($argument:ident : $type:ty),* $(,)?
        ) $(-> $result:ty)? $body:block
    )*) => {$(
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512 $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $result)? $body

                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2 $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $result)? $body

                match $crate::simd::Level::current() {
                    // SAFETY: the level says that the processor has these features.
                    $crate::simd::Level::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    $crate::simd::Level::Avx2 => return unsafe { avx2($($argument),*) },
                    _ => {}
                }
            }
            #[allow(clippy::too_many_arguments)]
            fn portable $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $result)? $body
            portable($($argument),*)
        }
    )*};
}
pub(crate) use multiversion;

/// A set of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Level {
    /// What the build's target promises: SSE2 on x86-64, NEON on aarch64, as the compiler uses it.
    Portable,
    /// The NEON of aarch64.
    Neon,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL, with AVX2 and FMA.
    Avx512,
}

impl Level {
    /// All levels, of every processor.
    pub const ALL: [Level; 4] = [Level::Portable, Level::Neon, Level::Avx2, Level::Avx512];

    /// Whether this processor has the instructions.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Level::Portable => true,
            Level::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => {
                Level::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx2 | Level::Avx512 => false,
        }
    }

    /// The widest level that is available.
    #[must_use]
    pub fn widest() -> Level {
        static WIDEST: OnceLock<Level> = OnceLock::new();
        *WIDEST.get_or_init(|| {
            let mut levels = Level::ALL.into_iter().rev();
            levels
                .find(|level| level.is_available())
                .unwrap_or(Level::Portable)
        })
    }

    /// The level of the kernels that this thread runs: the widest, unless [`with_level`] says another.
    #[must_use]
    pub fn current() -> Level {
        FORCED.get().unwrap_or_else(Level::widest)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Portable => "portable",
            Level::Neon => "NEON",
            Level::Avx2 => "AVX2",
            Level::Avx512 => "AVX-512",
        })
    }
}

thread_local! {
    static FORCED: Cell<Option<Level>> = const { Cell::new(None) };
}

/// Runs `f` with the kernels of a level, on this thread and on those of the pool that work for it.
///
/// # Errors
/// [`TensorError::Argument`] if the processor does not have the level; `f` is not called.
pub fn with_level<R>(level: Level, f: impl FnOnce() -> R) -> Result<R, TensorError> {
    if !level.is_available() {
        let available = Level::ALL.into_iter().filter(|level| level.is_available());
        let names: Vec<String> = available.map(|level| level.to_string()).collect();
        let expected = format!("one that this processor has: {}", names.join(", "));
        return Err(TensorError::argument(
            "choosing kernels",
            "level",
            expected,
            level,
        ));
    }
    Ok(with_forced(Some(level), f))
}

/// The level that [`with_level`] chose for this thread.
pub(crate) fn forced() -> Option<Level> {
    FORCED.get()
}

/// Runs `f` with what [`forced`] gave, maybe on another thread.
pub(crate) fn with_forced<R>(level: Option<Level>, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Level>);
    impl Drop for Restore {
        fn drop(&mut self) {
            FORCED.set(self.0);
        }
    }
    let _restore = Restore(FORCED.replace(level));
    f()
}
