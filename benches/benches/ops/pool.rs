//! Max, average and global pooling.

use anyhow::Result;
use candle_core::{Device, Tensor, Var};
use keros::tensor::Workspace;
use keros::tensor::kernels::{self, Padding, Pool2dSpec};

use crate::{BATCH, Case, Ops, Work, channels_first, tensor};

const SHAPE: [usize; 4] = [BATCH, 26, 26, 32];

/// What candle calls this operation, if it has it.
type Candle = Option<fn(&Tensor) -> candle_core::Result<Tensor>>;

pub(crate) fn cases(ops: &mut Ops) {
    let plain = Pool2dSpec::new((2, 2));
    let overlapping = Pool2dSpec {
        window: (3, 3),
        strides: (2, 2),
        padding: Padding::Same,
    };
    let [n, h, w, c] = SHAPE;
    let (inputs, outputs) = (n * h * w * c, n * h / 2 * w / 2 * c);
    // candle has no windows that overlap.
    let max: Candle = Some(|x| x.max_pool2d(2));
    let average: Candle = Some(|x| x.avg_pool2d(2));
    for (name, spec, max, average) in [
        ("2, 26×26×32", plain, max, average),
        ("3 stride 2, 26×26×32", overlapping, None, None),
    ] {
        let group = format!("max_pool2d {name}");
        // An index of a byte beside each output.
        let values = Work::Floats(inputs + outputs + outputs / 4);
        ops.case(&group, "forward", values, || max_pool(spec, max, false));
        ops.case(&group, "backward", values, || max_pool(spec, max, true));
        let group = format!("average_pool2d {name}");
        let values = Work::Floats(inputs + outputs);
        ops.case(&group, "forward", values, || {
            average_pool(spec, average, false)
        });
        ops.case(&group, "backward", values, || {
            average_pool(spec, average, true)
        });
    }
    let values = |sides| Work::Floats(sides * inputs);
    let group = "global_average_pool 26×26×32";
    ops.case(group, "forward", values(1), || global_average(false));
    ops.case(group, "backward", values(1), || global_average(true));
    let group = "global_max_pool 26×26×32";
    ops.case(group, "forward", values(1), || global_max(false));
    ops.case(group, "backward", values(2), || global_max(true));
}

/// candle's forward pass, or the reverse of one.
fn candle_side(x: &Tensor, candle: Candle, backward: bool) -> Result<Option<crate::Step>> {
    let Some(candle) = candle else {
        return Ok(None);
    };
    let x = Var::from_tensor(&channels_first(x)?)?;
    let y = candle(&x)?;
    Ok(Some(match backward {
        false => Box::new(move || {
            candle(&x)?;
            Ok(())
        }),
        true => Box::new(move || {
            y.backward()?;
            Ok(())
        }),
    }))
}

fn max_pool(spec: Pool2dSpec, candle: Candle, backward: bool) -> Result<Case> {
    let x = tensor(1, &SHAPE)?;
    let candle = candle_side(&x, candle, backward)?;
    let mut ws = Workspace::new(&Device::Cpu);
    let (y, argmax) = kernels::max_pool2d(&mut Workspace::new(&Device::Cpu), &x, &spec)?;
    let dy = tensor(2, y.dims())?;
    Ok(Case {
        keros: match backward {
            false => Box::new(move || {
                ws.recycle();
                kernels::max_pool2d(&mut ws, &x, &spec)?;
                Ok(())
            }),
            true => Box::new(move || {
                ws.recycle();
                kernels::max_pool2d_backward(&mut ws, &dy, &argmax, SHAPE, &spec)?;
                Ok(())
            }),
        },
        candle,
    })
}

fn average_pool(spec: Pool2dSpec, candle: Candle, backward: bool) -> Result<Case> {
    let x = tensor(1, &SHAPE)?;
    let candle = candle_side(&x, candle, backward)?;
    let dy = tensor(2, &spec.output_shape(SHAPE)?)?;
    let mut ws = Workspace::new(&Device::Cpu);
    Ok(Case {
        keros: match backward {
            false => Box::new(move || {
                ws.recycle();
                kernels::average_pool2d(&mut ws, &x, &spec)?;
                Ok(())
            }),
            true => Box::new(move || {
                ws.recycle();
                kernels::average_pool2d_backward(&mut ws, &dy, SHAPE, &spec)?;
                Ok(())
            }),
        },
        candle,
    })
}

fn global_average(backward: bool) -> Result<Case> {
    let x = tensor(1, &SHAPE)?;
    let candle = candle_side(&x, Some(|x| x.mean((2, 3))), backward)?;
    let dy = tensor(2, &[SHAPE[0], SHAPE[3]])?;
    let mut ws = Workspace::new(&Device::Cpu);
    Ok(Case {
        keros: match backward {
            false => Box::new(move || {
                ws.recycle();
                kernels::global_average_pool(&mut ws, &x)?;
                Ok(())
            }),
            true => Box::new(move || {
                ws.recycle();
                kernels::global_average_pool_backward(&mut ws, &dy, &SHAPE)?;
                Ok(())
            }),
        },
        candle,
    })
}

fn global_max(backward: bool) -> Result<Case> {
    let x = tensor(1, &SHAPE)?;
    let candle = candle_side(&x, Some(|x| x.flatten_from(2)?.max(2)), backward)?;
    let dy = tensor(2, &[SHAPE[0], SHAPE[3]])?;
    let mut ws = Workspace::new(&Device::Cpu);
    let y = kernels::global_max_pool(&mut ws, &x)?.copy()?;
    Ok(Case {
        keros: match backward {
            false => Box::new(move || {
                ws.recycle();
                kernels::global_max_pool(&mut ws, &x)?;
                Ok(())
            }),
            true => Box::new(move || {
                ws.recycle();
                kernels::global_max_pool_backward(&mut ws, &x, &y, &dy)?;
                Ok(())
            }),
        },
        candle,
    })
}
