//! A layer of your own in three ways – the forward pass alone, both passes written out, a module of
//! candle – which have the same gradients and learn the same.

#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Context as _, Result, anyhow};
use candle_nn::{Init, Module, VarBuilder, VarMap, ops};
use clap::Parser;
use keros::nn::layers::{ForwardOnly, Values};
use keros::nn::{Initializer, Layer, LayerBuilder, NnError, Pass};
use keros::prelude::*;
use keros::tensor::access::{read, write, write2};
use keros::tensor::{DType, Param, ParamId, Tensor};
use keros_examples::fashion::{CLASSES, Fashion, to_unit};
use keros_examples::images_arg::ImagesArg;
use keros_examples::report::{ended, fail};
use keros_examples::table::table;
use std::process::ExitCode;
use std::time::Instant;

/// Trains a network with a layer of its own, written in three ways.
#[derive(Parser)]
struct Args {
    /// Passes over the training images.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    epochs: u64,
    #[command(flatten)]
    images: ImagesArg,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.images.load() {
        Err(error) => fail(&error, 2),
        Ok(data) => ended(run(&args, &data)),
    }
}

/// `x · sigmoid(β x)`, with a `β` for each feature that is learned. The forward pass is all there
/// is: candle's autograd goes back through it.
#[derive(Default)]
struct Swish {
    beta: Option<ParamId>,
}

impl ForwardOnly for Swish {
    fn class_name(&self) -> &'static str {
        "Swish"
    }

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        self.beta = Some(builder.param("beta", input, Initializer::Ones)?);
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, values: &Values) -> candle_core::Result<Tensor> {
        let Some(beta) = self.beta else {
            candle_core::bail!("the layer is not built");
        };
        x * ops::sigmoid(&x.broadcast_mul(&values[beta])?)?
    }
}

/// The same with its reverse pass written out, which needs no copies and no graph of operations.
#[derive(Default)]
struct SwishByHand {
    beta: Option<ParamId>,
}

impl SwishByHand {
    fn beta(&self) -> Result<ParamId, NnError> {
        self.beta.ok_or(NnError::NotBuilt)
    }
}

impl Layer for SwishByHand {
    fn class_name(&self) -> &'static str {
        "Swish"
    }

    fn name(&self) -> Option<&str> {
        None
    }

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        self.beta = Some(builder.param("beta", input, Initializer::Ones)?);
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let y = pass.workspace.take(x.dims(), DType::F32)?;
        let (beta, values) = (read::<f32>(pass.value(self.beta()?))?, read::<f32>(x)?);
        let features = beta.len();
        write(&y, |y: &mut [f32]| {
            for (y, x) in y.chunks_mut(features).zip(values.chunks(features)) {
                for i in 0..features {
                    y[i] = x[i] * sigmoid(beta[i] * x[i]);
                }
            }
        })?;
        pass.save(x);
        Ok(y)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let (beta, x) = (self.beta()?, pass.restore()?);
        let grad = pass.grad(beta);
        let (beta, values) = (read::<f32>(pass.value(beta))?, read::<f32>(&x)?);
        let features = beta.len();
        // The gradient of the input takes the place of that of the output.
        write2(dy, grad, |dy: &mut [f32], dbeta: &mut [f32]| {
            dbeta.fill(0.0);
            for (dy, x) in dy.chunks_mut(features).zip(values.chunks(features)) {
                for i in 0..features {
                    let gate = sigmoid(beta[i] * x[i]);
                    let slope = gate * (1.0 - gate);
                    dbeta[i] += dy[i] * x[i] * x[i] * slope;
                    dy[i] *= gate + beta[i] * x[i] * slope;
                }
            }
        })?;
        Ok(Some(dy.clone()))
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The same as a module of candle, to stand among those of `candle_nn`.
struct SwishModule {
    beta: Tensor,
}

impl Module for SwishModule {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x * ops::sigmoid(&x.broadcast_mul(&self.beta)?)?
    }
}

/// Features before and in the hidden layer.
const PIXELS: usize = 28 * 28;
const HIDDEN: usize = 64;

/// The hidden layer and the swish in candle alone: its variables become parameters of the network.
fn candle_module() -> Result<CandleModule> {
    let vars = VarMap::new();
    let builder = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let linear = candle_nn::linear(PIXELS, HIDDEN, builder.pp("linear"))?;
    let beta = builder.get_with_hints(HIDDEN, "beta", Init::Const(1.0))?;
    let module = candle_nn::seq().add(linear).add(SwishModule { beta });
    let vars = vars
        .data()
        .lock()
        .map_err(|_| anyhow!("another thread has panicked"))?
        .clone();
    Ok(CandleModule::new(module, vars).name("hidden"))
}

/// How the layer is written.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    ForwardOnly,
    ByHand,
    Candle,
}

impl Way {
    const ALL: [Way; 3] = [Way::ForwardOnly, Way::ByHand, Way::Candle];

    fn name(self) -> &'static str {
        match self {
            Way::ForwardOnly => "forward pass alone",
            Way::ByHand => "both passes by hand",
            Way::Candle => "module of candle",
        }
    }

    fn trainer(self, seed: u64) -> Result<Trainer<Sequential>> {
        let builder = Sequential::builder([28, 28, 1]).layer(Flatten::new());
        let dense = Dense::new(HIDDEN).name("hidden");
        let builder = match self {
            Way::ForwardOnly => builder.layer(dense).layer(Autograd::new(Swish::default())),
            Way::ByHand => builder.layer(dense).layer(SwishByHand::default()),
            Way::Candle => builder.layer(candle_module()?),
        };
        let head = Dense::new(CLASSES.len()).activation("softmax").name("head");
        let network = builder.layer(head).build(&Device::Cpu, seed)?;
        Ok(Trainer::builder(network)
            .optimizer("adam")
            .loss("sparse_categorical_crossentropy")
            .metric("accuracy")
            .seed(seed)
            .compile()?)
    }

    /// What this network calls a parameter, and whether it lies there with its axes exchanged.
    fn param(self, name: &'static str) -> (&'static str, bool) {
        match (self, name) {
            (Way::Candle, "hidden/kernel") => ("hidden/linear.weight", true),
            (Way::Candle, "hidden/bias") => ("hidden/linear.bias", false),
            (Way::Candle, "swish/beta") => ("hidden/beta", false),
            _ => (name, false),
        }
    }
}

const PARAMS: [&str; 5] = [
    "hidden/kernel",
    "hidden/bias",
    "swish/beta",
    "head/kernel",
    "head/bias",
];

fn run(args: &Args, data: &Fashion) -> Result<()> {
    let mut trainers = Vec::new();
    for way in Way::ALL {
        trainers.push((way, way.trainer(args.images.seed)?));
    }
    let start = tensors(&trainers[0], |param| param.value().copy())?;
    for trained in &trainers[1..] {
        for (name, value) in PARAMS.iter().zip(&start) {
            let (name, turned) = trained.0.param(name);
            let value = if turned {
                value.t()?.contiguous()?
            } else {
                value.clone()
            };
            let params = trained.1.network().params();
            params.by_name(name).context(name)?.set(&value)?;
        }
    }
    compare_gradients(&mut trainers, data)?;
    compare_trainings(&mut trainers, data, args.epochs)
}

/// All parameters in one order and layout, whatever way the layer is written in.
fn tensors(
    (way, trainer): &(Way, Trainer<Sequential>),
    of: impl Fn(&Param) -> candle_core::Result<Tensor>,
) -> Result<Vec<Tensor>> {
    let params = trainer.network().params();
    let one = |name: &&'static str| {
        let (name, turned) = way.param(name);
        let tensor = of(params.by_name(name).context(name)?)?;
        Ok(if turned { tensor.t()? } else { tensor })
    };
    PARAMS.iter().map(one).collect()
}

/// The gradients of one batch, and by how much they differ at most.
fn compare_gradients(trainers: &mut [(Way, Trainer<Sequential>)], data: &Fashion) -> Result<()> {
    let rows = data.train_x.len().min(64);
    let images = to_unit(&data.train_x.slice(0..rows)?)?;
    let batch = Batch::new(images, data.train_y.slice(0..rows)?);
    let mut gradients = Vec::new();
    for trained in trainers {
        trained.1.train_on_batch(&batch)?;
        gradients.push(tensors(trained, |param| param.grad().copy())?);
    }
    let mut table_rows = Vec::new();
    for (i, name) in PARAMS.iter().enumerate() {
        let largest = |tensor: &Tensor| tensor.abs()?.max_all()?.to_scalar::<f32>();
        let mut cells = vec![
            (*name).to_owned(),
            format!("{:.4}", largest(&gradients[0][i])?),
        ];
        for other in &gradients[1..] {
            let difference = largest(&(&gradients[0][i] - &other[i])?)?;
            cells.push(format!("{difference:.1e}"));
        }
        table_rows.push(cells);
    }
    let header = ["gradient of", "largest", "by hand differs by", "candle by"];
    println!("{}", table(&header, &table_rows));
    Ok(())
}

/// The trainings side by side.
fn compare_trainings(
    trainers: &mut [(Way, Trainer<Sequential>)],
    data: &Fashion,
    epochs: u64,
) -> Result<()> {
    let (images, test_images) = (to_unit(&data.train_x)?, to_unit(&data.test_x)?);
    let mut rows = Vec::new();
    for (way, trainer) in trainers {
        let started = Instant::now();
        let options = FitOptions {
            epochs,
            verbose: Verbose::Silent,
            validation_data: Some((test_images.clone(), data.test_y.clone()).into()),
            ..FitOptions::default()
        };
        let history = trainer.fit(images.clone(), data.train_y.clone(), options)?;
        let last = |key| history.last(key).context("no epoch was trained");
        rows.push(vec![
            way.name().to_owned(),
            format!("{:.4}", last("loss")?),
            format!("{:.3}", last("val_accuracy")?),
            format!("{:.1} s", started.elapsed().as_secs_f64()),
        ]);
    }
    println!(
        "{}",
        table(&["layer", "loss", "val_accuracy", "time"], &rows)
    );
    Ok(())
}
