//! A model written by hand in candle, trained by `fit`.

use std::error::Error;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Linear, VarBuilder, VarMap, linear};
use keros_data::Array;
use keros_nn::{Activation, CandleNetwork, Port};
use keros_train::{FitOptions, Trainer};

/// The model.
struct Mlp {
    hidden: Linear,
    head: Linear,
}

impl Mlp {
    fn new(vars: VarBuilder<'_>) -> candle_core::Result<Mlp> {
        Ok(Mlp {
            hidden: linear(2, 32, vars.pp("hidden"))?,
            head: linear(32, 2, vars.pp("head"))?,
        })
    }

    /// The logits of the two classes.
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.head.forward(&self.hidden.forward(x)?.relu()?)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let vars = VarMap::new();
    let model = Mlp::new(VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
    let variables = vars
        .data()
        .lock()
        .map_err(|_| "a thread has panicked")?
        .clone();

    let forward = move |inputs: &[Tensor], _training: bool| Ok(vec![model.forward(&inputs[0])?]);
    let network = CandleNetwork::new(
        [Port::new("point", [2])],
        [Port::new("inside", [2])],
        variables,
        forward,
    )?
    .activation("inside", Activation::Softmax)?;
    let mut trainer = Trainer::builder(network)
        .optimizer("adam")
        .loss("sparse_categorical_crossentropy")
        .metric("accuracy")
        .compile()?;

    let (points, inside) = circle(40)?;
    let history = trainer.fit(
        points,
        inside,
        FitOptions {
            epochs: 40,
            ..FitOptions::default()
        },
    )?;
    println!(
        "accuracy {:.3}",
        history.last("accuracy").unwrap_or(f64::NAN)
    );
    Ok(())
}

/// The points of a grid with so many points on a side, and whether each lies inside a circle.
fn circle(side: u16) -> Result<(Array, Array), Box<dyn Error>> {
    let place = |i: u16| f32::from(i) / f32::from(side) * 2.0 - 1.0;
    let points = (0..side).flat_map(|y| (0..side).map(move |x| [place(x), place(y)]));
    let (points, inside): (Vec<_>, Vec<_>) = points
        .map(|[x, y]| ([x, y], i64::from(x * x + y * y < 0.5)))
        .unzip();
    let rows = inside.len();
    Ok((
        Array::from_vec(&[rows, 2], points.concat())?,
        Array::from_vec(&[rows], inside)?,
    ))
}
