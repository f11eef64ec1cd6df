//! What a GPU is told to do, as values that can be kept, compared and done later.

use std::ffi::c_void;
use std::ops::Range;

use candle_core::cuda_backend::cudarc::driver::sys::CUstream;
use candle_core::cuda_backend::cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig, result};

use super::blas::Product;
#[cfg(feature = "cudnn")]
use super::dnn::Convolve;
use super::{Gpu, failure};
use crate::TensorError;

/// One thing to do.
pub(crate) enum Command {
    Kernel(Recorded),
    Zero(Zero),
    Call(Call),
}

/// What a library does.
#[derive(PartialEq)]
pub(crate) enum Call {
    Product(Product),
    #[cfg(feature = "cudnn")]
    Convolve(Convolve),
}

/// A kernel and its threads.
#[derive(Clone)]
pub(crate) struct Kernel {
    pub(crate) name: &'static str,
    pub(crate) function: CudaFunction,
    pub(crate) threads: LaunchConfig,
}

/// A kernel whose parameters are among those of all [`Commands`].
pub(crate) struct Recorded {
    pub(crate) kernel: Kernel,
    words: Range<usize>,
    /// Which of the places are those of its parameters.
    places: Range<usize>,
}

/// Memory to be filled with zeros.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Zero {
    pub(crate) first: u64,
    pub(crate) bytes: usize,
}

/// Bytes of a parameter.
pub(crate) fn size<T: DeviceRepr>(_argument: &T) -> usize {
    size_of::<T>()
}

impl Kernel {
    /// Starts it.
    ///
    /// # Safety
    /// The parameters are those of the kernel, and the memory that they name is as large as it expects.
    pub(crate) unsafe fn start(
        &self,
        gpu: &Gpu,
        parameters: &mut [*mut c_void],
    ) -> Result<(), TensorError> {
        let (
            stream,
            LaunchConfig {
                grid_dim,
                block_dim,
                shared_mem_bytes,
            },
        ) = (gpu.stream(), self.threads);
        let bound = stream.context().bind_to_thread();
        bound
            // SAFETY: as the caller says.
            .and_then(|()| unsafe {
                result::launch_kernel(
                    self.function.cu_function(),
                    grid_dim,
                    block_dim,
                    shared_mem_bytes,
                    stream.cu_stream(),
                    parameters,
                )
            })
            .map_err(|error| failure("starting kernel", &format_args!("{}: {error}", self.name)))
    }

    fn is_like(&self, other: &Self) -> bool {
        let of = |kernel: &Self| {
            let threads = kernel.threads;
            let shape = (
                threads.grid_dim,
                threads.block_dim,
                threads.shared_mem_bytes,
            );
            (kernel.function.cu_function(), shape)
        };
        of(self) == of(other)
    }
}

impl Zero {
    pub(crate) fn start(self, gpu: &Gpu) -> Result<(), TensorError> {
        let stream = gpu.stream();
        let bound = stream.context().bind_to_thread();
        bound
            // SAFETY: the memory is as long, and written in the order of the stream.
            .and_then(|()| unsafe {
                result::memset_d8_async(self.first, 0, self.bytes, stream.cu_stream())
            })
            .map_err(|error| failure("filling with zeros", &error))
    }
}

/// Things to do, one after the other.
#[derive(Default)]
pub(crate) struct Commands {
    list: Vec<Command>,
    /// The parameters of kernels, each from a word of its own on.
    words: Vec<u64>,
    /// The first word of each parameter.
    places: Vec<usize>,
}

impl Commands {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.words.clear();
        self.places.clear();
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Command> {
        self.list.iter()
    }

    pub(crate) fn push(&mut self, command: Command) {
        self.list.push(command);
    }

    /// # Safety
    /// The parameters are as long as the sizes say.
    pub(crate) unsafe fn push_kernel(
        &mut self,
        kernel: Kernel,
        parameters: &[*mut c_void],
        sizes: &[usize],
    ) {
        let (first_word, first_place) = (self.words.len(), self.places.len());
        for (parameter, &bytes) in parameters.iter().zip(sizes) {
            let place = self.words.len();
            self.places.push(place);
            self.words
                .resize(place + bytes.div_ceil(size_of::<u64>()), 0);
            let to = self.words[place..].as_mut_ptr().cast::<u8>();
            // SAFETY: so many bytes are there, as the caller says, and here.
            unsafe { std::ptr::copy_nonoverlapping(parameter.cast::<u8>(), to, bytes) };
        }
        self.list.push(Command::Kernel(Recorded {
            kernel,
            words: first_word..self.words.len(),
            places: first_place..self.places.len(),
        }));
    }

    /// Where the driver finds the parameters of one of the kernels.
    pub(crate) fn parameters(&self, kernel: &Recorded) -> Vec<*mut c_void> {
        let places = self.places[kernel.places.clone()].iter();
        places
            .map(|&place| self.words[place..].as_ptr().cast_mut().cast())
            .collect()
    }

    /// Does everything.
    pub(crate) fn run(&self, gpu: &Gpu) -> Result<(), TensorError> {
        for command in &self.list {
            match command {
                Command::Kernel(kernel) => {
                    let mut parameters = self.parameters(kernel);
                    // SAFETY: who recorded it has checked its shapes, and kept its tensors.
                    unsafe { kernel.kernel.start(gpu, &mut parameters) }?;
                }
                Command::Zero(zero) => zero.start(gpu)?,
                Command::Call(call) => call.start(gpu, None)?,
            }
        }
        Ok(())
    }

    /// Whether the same is done, but for the parameters of kernels.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.list.len() == other.list.len()
            && self.words.len() == other.words.len()
            && self.places == other.places
            && self.list.iter().zip(&other.list).all(|pair| match pair {
                (Command::Kernel(a), Command::Kernel(b)) => a.kernel.is_like(&b.kernel),
                (Command::Zero(a), Command::Zero(b)) => a == b,
                (Command::Call(a), Command::Call(b)) => a == b,
                _ => false,
            })
    }

    /// Whether one of the kernels has the same parameters in commands that are [alike](Self::is_like).
    pub(crate) fn has_same_parameters(&self, kernel: &Recorded, other: &Self) -> bool {
        self.words[kernel.words.clone()] == other.words[kernel.words.clone()]
    }
}

impl Call {
    /// Makes sure that the library can start it on the stream of notes.
    pub(crate) fn prepare(&self, gpu: &Gpu, notes: CUstream) -> Result<(), TensorError> {
        match self {
            Self::Product(product) => product.prepare(gpu, notes),
            #[cfg(feature = "cudnn")]
            Self::Convolve(convolve) => convolve.prepare(gpu, notes),
        }
    }

    /// Has the library start it, on the stream of notes if that is given.
    pub(crate) fn start(&self, gpu: &Gpu, notes: Option<CUstream>) -> Result<(), TensorError> {
        match self {
            Self::Product(product) => product.start(gpu, notes),
            #[cfg(feature = "cudnn")]
            Self::Convolve(convolve) => convolve.start(gpu, notes),
        }
    }
}
