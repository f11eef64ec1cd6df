//! How cuDNN does one convolution in one direction: the operations, and the engine that is to do them.

use std::ffi::c_void;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::cuda_backend::cudarc::cudnn::result::CudnnError;
use candle_core::cuda_backend::cudarc::cudnn::sys::{
    self, cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type,
    cudnnBackendBehaviorNote_t as BehaviorNote, cudnnBackendDescriptorType_t as Kind,
    cudnnBackendHeurMode_t as Heuristic, cudnnBackendNumericalNote_t as NumericalNote,
    cudnnDataType_t as DataType,
};

use super::super::Values;
use super::super::conv::{Convolution, Direction};
use super::descriptor::Descriptor;
use super::{Key, or_unsupported};

/// Most memory that an engine may take beside its tensors, in bytes. What is free just now does not count: the same
/// convolution is done in the same way each time.
pub(super) const WORKSPACE: usize = 1 << 30;
/// Answers that each heuristic is asked for.
const ANSWERS: usize = 16;
/// Bytes at whose multiples all tensors of a plan begin.
pub(super) const ALIGNMENT: i64 = 16;

/// The names that tensors have in a plan.
const X: i64 = 1;
const W: i64 = 2;
const Y: i64 = 3;
const BIAS: i64 = 4;
/// Those that only the next operation reads.
const CONVOLVED: i64 = 5;
const BIASED: i64 = 6;

/// Addresses of images, filter, outputs, the bias if there is one, and the memory to work in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Addresses {
    pub(super) x: u64,
    pub(super) w: u64,
    pub(super) y: u64,
    pub(super) bias: u64,
    pub(super) workspace: u64,
}

/// What cuDNN is given to compute one of `x`, `w` and `y`.
pub(super) struct Plan {
    execution: Arc<Descriptor>,
    has_bias: bool,
    /// Bytes that it takes beside the tensors.
    pub(super) workspace: usize,
    /// Whether it has been started once: what cuDNN does not support it may tell only then.
    pub(super) has_run: AtomicBool,
}

impl Plan {
    /// The way that cuDNN takes for the fastest, of those that give the same numbers each time and take at most so many
    /// bytes beside the tensors; none if there is none.
    ///
    /// # Errors
    /// As [`ways`](Self::ways).
    pub(super) fn find(
        handle: sys::cudnnHandle_t,
        key: &Key,
        most_bytes: usize,
    ) -> Result<Option<Self>, CudnnError> {
        Ok(Self::ways(handle, key, most_bytes, 1)?.pop())
    }

    /// The first `most` of these ways, what cuDNN takes for the fastest first.
    ///
    /// # Errors
    /// Among others, that it does not support this at all. If there is no plan and an engine failed for another
    /// reason than that it does not support this, that is the error.
    pub(super) fn ways(
        handle: sys::cudnnHandle_t,
        key: &Key,
        most_bytes: usize,
        most: usize,
    ) -> Result<Vec<Self>, CudnnError> {
        let operations = operations(key)?;
        let graph = Descriptor::new(Kind::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?
            .with(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE, &[handle])?
            .with_parts(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &operations)?
            .finish()?;
        // The slower one, mode B, chooses better now and then, but crashed over some shapes with cuDNN 9.19. The last
        // resort for a convolution with what follows would be slower than both by themselves.
        let heuristics: &[Heuristic] = match key.has_bias || key.relu {
            true => &[Heuristic::CUDNN_HEUR_MODE_A],
            false => &[
                Heuristic::CUDNN_HEUR_MODE_A,
                Heuristic::CUDNN_HEUR_MODE_FALLBACK,
            ],
        };
        let (mut ways, mut failed) = (Vec::new(), None);
        for &heuristic in heuristics {
            let choices = or_unsupported(choices(&graph, heuristic).map(Some));
            let choices = choices.unwrap_or_else(|error| {
                failed = failed.or(Some(error));
                None
            });
            for choice in choices.unwrap_or_default() {
                match or_unsupported(Self::with(handle, key, &choice, most_bytes)) {
                    Ok(plan) => ways.extend(plan),
                    Err(error) => failed = failed.or(Some(error)),
                }
                if ways.len() == most {
                    return Ok(ways);
                }
            }
        }
        match failed {
            Some(error) if ways.is_empty() => Err(error),
            _ => Ok(ways),
        }
    }

    /// The one with this choice of an engine, unless its numbers are not as wanted, it has to be compiled first, or it
    /// takes too much memory.
    fn with(
        handle: sys::cudnnHandle_t,
        key: &Key,
        choice: &Arc<Descriptor>,
        most_bytes: usize,
    ) -> Result<Option<Self>, CudnnError> {
        let kind = Kind::CUDNN_BACKEND_ENGINE_DESCRIPTOR;
        let engine = choice.descriptors(Name::CUDNN_ATTR_ENGINECFG_ENGINE, kind, 1)?;
        let Some(engine) = engine.first() else {
            return Ok(None);
        };
        let numbers = engine.notes(
            Name::CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
            Type::CUDNN_TYPE_NUMERICAL_NOTE,
        )?;
        let behavior = engine.notes(
            Name::CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE,
            Type::CUDNN_TYPE_BEHAVIOR_NOTE,
        )?;
        let is = |note: NumericalNote| numbers.contains(&(note as u32));
        // Engines without tensor cores gave wrong gradients of weights where borders have different widths, with
        // cuDNN 9.19 on an H100; what they give for inputs then has not been seen. Their outputs were right.
        let by_tensor_cores = is(NumericalNote::CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
        if key.direction != Direction::Outputs && !by_tensor_cores
            || is(NumericalNote::CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)
            // To 16 bits.
            || is(NumericalNote::CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS)
            || is(NumericalNote::CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)
            || behavior.contains(&(BehaviorNote::CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION as u32))
        {
            return Ok(None);
        }
        let execution = Descriptor::new(Kind::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?
            .with(Name::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, &[handle])?
            .with_parts(
                Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                slice::from_ref(choice),
            )?
            .finish()?;
        let bytes = execution.number(Name::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)?;
        let workspace = bytes.max(0) as usize;
        Ok((workspace <= most_bytes).then(|| Self {
            execution,
            has_bias: key.has_bias,
            workspace,
            has_run: AtomicBool::new(false),
        }))
    }

    /// Starts the computation.
    ///
    /// # Safety
    /// There is as much memory as the plan's tensors and [`workspace`](Self::workspace) say.
    pub(super) unsafe fn run(
        &self,
        handle: sys::cudnnHandle_t,
        addresses: &Addresses,
    ) -> Result<(), CudnnError> {
        let Addresses {
            x,
            w,
            y,
            bias,
            workspace,
        } = *addresses;
        let tensors = if self.has_bias { 4 } else { 3 };
        let pointers = [x, w, y, bias].map(|address| address as *mut c_void);
        let pack = Descriptor::new(Kind::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?
            .with(
                Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
                &[X, W, Y, BIAS][..tensors],
            )?
            .with(
                Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
                &pointers[..tensors],
            )?
            .with(
                Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE,
                &[workspace as *mut c_void],
            )?
            .finish()?;
        // SAFETY: the caller vouches for the memory.
        unsafe { self.execution.execute(handle, &pack) }
    }
}

/// What a heuristic proposes, the fastest first.
fn choices(
    graph: &Arc<Descriptor>,
    heuristic: Heuristic,
) -> Result<Vec<Arc<Descriptor>>, CudnnError> {
    let heuristic = Descriptor::new(Kind::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?
        .with_parts(
            Name::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
            slice::from_ref(graph),
        )?
        .with(Name::CUDNN_ATTR_ENGINEHEUR_MODE, &[heuristic])?
        .finish()?;
    let kind = Kind::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR;
    heuristic.descriptors(Name::CUDNN_ATTR_ENGINEHEUR_RESULTS, kind, ANSWERS)
}

/// What cuDNN calls a convolution in one direction, and its parts.
struct Names {
    operation: Kind,
    x: Name,
    w: Name,
    y: Name,
    windows: Name,
    factors: [Name; 2],
}

fn names(direction: Direction) -> Names {
    match direction {
        Direction::Outputs => Names {
            operation: Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            x: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
            w: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
            y: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
            windows: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
            factors: [
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
            ],
        },
        Direction::Inputs => Names {
            operation: Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
            x: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
            w: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
            y: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
            windows: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
            factors: [
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
            ],
        },
        Direction::Weights => Names {
            operation: Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
            x: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
            w: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
            y: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
            windows: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
            factors: [
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
            ],
        },
    }
}

/// The convolution, and what follows it, each of which reads the result of the one before.
fn operations(key: &Key) -> Result<Vec<Arc<Descriptor>>, CudnnError> {
    let (c, g) = (&key.convolution, &key.convolution.window);
    let mut tensors = [
        (X, [g.images, g.channels, g.height, g.width]),
        (
            W,
            [
                c.outputs,
                g.channels / c.groups,
                g.window_height,
                g.window_width,
            ],
        ),
        (Y, [g.images, c.outputs, g.rows, g.columns]),
    ]
    .map(|(name, size)| (name, data_type(key.values), size, false));
    let place = match key.direction {
        Direction::Inputs => 0,
        Direction::Weights => 1,
        Direction::Outputs => 2,
    };
    let result = tensors[place];
    // What is handed on stays in `f32`.
    let handed_on = |name| (name, DataType::CUDNN_DATA_FLOAT, result.2, true);
    let convolved = match key.has_bias || key.relu {
        true => handed_on(CONVOLVED),
        false => result,
    };
    tensors[place] = convolved;
    let [x, w, y] = tensors.map(tensor);
    let names = names(key.direction);
    let mut list = vec![
        Descriptor::new(names.operation)?
            .with_parts(names.x, &[x?])?
            .with_parts(names.w, &[w?])?
            .with_parts(names.y, &[y?])?
            .with_parts(names.windows, &[windows(c)?])?
            .with(names.factors[0], &[1.0_f32])?
            .with(names.factors[1], &[0.0_f32])?
            .finish()?,
    ];
    let biased = match (key.has_bias, key.relu) {
        (false, _) => convolved,
        (true, true) => handed_on(BIASED),
        (true, false) => result,
    };
    if key.has_bias {
        let size = [1, result.2[1], 1, 1];
        let bias = tensor((BIAS, DataType::CUDNN_DATA_FLOAT, size, false))?;
        let add = pointwise(sys::cudnnPointwiseMode_t::CUDNN_POINTWISE_ADD)?.finish()?;
        list.push(
            operation(add, tensor(convolved)?, tensor(biased)?)?
                .with_parts(Name::CUDNN_ATTR_OPERATION_POINTWISE_BDESC, &[bias])?
                .finish()?,
        );
    }
    if key.relu {
        let nan = sys::cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN;
        let relu = pointwise(sys::cudnnPointwiseMode_t::CUDNN_POINTWISE_RELU_FWD)?
            .with(Name::CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, &[nan])?
            .finish()?;
        list.push(operation(relu, tensor(biased)?, tensor(result)?)?.finish()?);
    }
    Ok(list)
}

fn data_type(values: Values) -> DataType {
    match values {
        Values::F32 => DataType::CUDNN_DATA_FLOAT,
        Values::Bf16 => DataType::CUDNN_DATA_BFLOAT16,
        Values::F16 => DataType::CUDNN_DATA_HALF,
    }
}

/// A tensor: its name, type and size, given as images, channels, rows and columns, and whether it is only handed on to
/// the next operation. Its channels lie side by side.
fn tensor(
    (name, values, size, is_handed_on): (i64, DataType, [i32; 4], bool),
) -> Result<Arc<Descriptor>, CudnnError> {
    let size = size.map(i64::from);
    let [_, channels, rows, columns] = size;
    let steps = [rows * columns * channels, 1, columns * channels, channels];
    Descriptor::new(Kind::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?
        .with(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, &[values])?
        .with(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, &size)?
        .with(Name::CUDNN_ATTR_TENSOR_STRIDES, &steps)?
        .with(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, &[name])?
        .with(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &[ALIGNMENT])?
        .with(Name::CUDNN_ATTR_TENSOR_IS_VIRTUAL, &[is_handed_on])?
        .finish()
}

/// How the windows of a convolution lie.
fn windows(convolution: &Convolution) -> Result<Arc<Descriptor>, CudnnError> {
    let g = &convolution.window;
    // Cells beyond the border, behind an axis.
    let after = |length: i32, before: i32, windows: i32, stride: i32, cells: i32, dilation: i32| {
        ((windows - 1) * stride + (cells - 1) * dilation + 1 - length - before).max(0)
    };
    let (rows, columns) = (
        after(
            g.height,
            g.top,
            g.rows,
            g.stride_y,
            g.window_height,
            g.dilation_y,
        ),
        after(
            g.width,
            g.left,
            g.columns,
            g.stride_x,
            g.window_width,
            g.dilation_x,
        ),
    );
    let two = |y: i32, x: i32| [y, x].map(i64::from);
    let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
    Descriptor::new(Kind::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?
        .with(
            Name::CUDNN_ATTR_CONVOLUTION_COMP_TYPE,
            &[DataType::CUDNN_DATA_FLOAT],
        )?
        .with(Name::CUDNN_ATTR_CONVOLUTION_CONV_MODE, &[mode])?
        .with(Name::CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, &[2_i64])?
        .with(
            Name::CUDNN_ATTR_CONVOLUTION_DILATIONS,
            &two(g.dilation_y, g.dilation_x),
        )?
        .with(
            Name::CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES,
            &two(g.stride_y, g.stride_x),
        )?
        .with(
            Name::CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS,
            &two(g.top, g.left),
        )?
        .with(
            Name::CUDNN_ATTR_CONVOLUTION_POST_PADDINGS,
            &two(rows, columns),
        )?
        .finish()
}

/// A function of each value, not final yet.
fn pointwise(mode: sys::cudnnPointwiseMode_t) -> Result<Descriptor, CudnnError> {
    Descriptor::new(Kind::CUDNN_BACKEND_POINTWISE_DESCRIPTOR)?
        .with(Name::CUDNN_ATTR_POINTWISE_MODE, &[mode])?
        .with(
            Name::CUDNN_ATTR_POINTWISE_MATH_PREC,
            &[DataType::CUDNN_DATA_FLOAT],
        )
}

/// Such a function from one tensor to another, not final yet.
fn operation(
    function: Arc<Descriptor>,
    x: Arc<Descriptor>,
    y: Arc<Descriptor>,
) -> Result<Descriptor, CudnnError> {
    Descriptor::new(Kind::CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)?
        .with_parts(
            Name::CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR,
            &[function],
        )?
        .with_parts(Name::CUDNN_ATTR_OPERATION_POINTWISE_XDESC, &[x])?
        .with_parts(Name::CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &[y])
}
