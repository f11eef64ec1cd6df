//! candle's side: its layers, loss and optimizer in a loop as the examples of candle have it, on the CPU.

use anyhow::{Result, bail, ensure};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::{
    AdamW, Conv2d, Conv2dConfig, Dropout, Linear, Module, Optimizer, ParamsAdamW, VarBuilder,
    VarMap, conv2d, linear, loss,
};

use crate::data::{Data, Pixels};
use crate::model::Model;

const CLASSES: usize = 10;

/// A network, its optimizer and its data.
pub(crate) struct Training {
    net: Net,
    optimizer: AdamW,
    x: Tensor,
    y: Tensor,
    batch_size: usize,
    /// The row of the next batch.
    row: usize,
    /// Sums since the beginning.
    loss: f64,
    correct: f64,
}

impl Training {
    pub(crate) fn new(model: Model, batch_size: usize, data: Data) -> Result<Training> {
        let device = Device::Cpu;
        let rows = data.labels.len();
        // Channels first; the pixels are random, so their order in memory makes no difference.
        let shape: &[usize] = match model {
            Model::MnistConvnet => &[rows, 1, 28, 28],
            Model::Cifar10Cnn => &[rows, 3, 32, 32],
            Model::Mlp => &[rows, 784],
            Model::Resnet18 => bail!("candle trains no {}", model.name()),
        };
        let Pixels::Floats(pixels) = data.pixels else {
            bail!("candle trains on floats");
        };
        let variables = VarMap::new();
        let net = Net::new(
            model,
            VarBuilder::from_varmap(&variables, DType::F32, &device),
        )?;
        let params = ParamsAdamW {
            weight_decay: 0.0,
            ..ParamsAdamW::default()
        };
        Ok(Training {
            net,
            optimizer: AdamW::new(variables.all_vars(), params)?,
            x: Tensor::from_vec(pixels, shape, &device)?,
            y: Tensor::from_vec(data.labels, rows, &device)?,
            batch_size,
            row: 0,
            loss: 0.0,
            correct: 0.0,
        })
    }

    /// Trains on so many batches.
    pub(crate) fn steps(&mut self, steps: u64) -> Result<()> {
        for _ in 0..steps {
            if self.row + self.batch_size > self.y.dims1()? {
                self.row = 0;
            }
            let x = self.x.narrow(0, self.row, self.batch_size)?;
            let y = self.y.narrow(0, self.row, self.batch_size)?;
            self.row += self.batch_size;
            let logits = self.net.forward(&x)?;
            let loss = loss::cross_entropy(&logits, &y)?;
            self.optimizer.backward_step(&loss)?;
            let correct = logits.argmax(D::Minus1)?.eq(&y)?;
            let correct = correct.to_dtype(DType::F32)?.sum_all()?;
            self.loss += f64::from(loss.to_scalar::<f32>()?);
            self.correct += f64::from(correct.to_scalar::<f32>()?);
        }
        let (loss, correct) = (self.loss, self.correct);
        ensure!(
            loss.is_finite(),
            "the loss is {loss}, {correct} are correct"
        );
        Ok(())
    }
}

enum Net {
    MnistConvnet {
        conv1: Conv2d,
        conv2: Conv2d,
        dropout: Dropout,
        dense: Linear,
    },
    Cifar10Cnn {
        conv: [Conv2d; 4],
        dense: [Linear; 2],
    },
    Mlp {
        dense: [Linear; 3],
    },
}

impl Net {
    fn new(model: Model, vb: VarBuilder<'_>) -> Result<Net> {
        let config = Conv2dConfig::default();
        Ok(match model {
            Model::MnistConvnet => Net::MnistConvnet {
                conv1: conv2d(1, 32, 3, config, vb.pp("conv1"))?,
                conv2: conv2d(32, 64, 3, config, vb.pp("conv2"))?,
                dropout: Dropout::new(0.5),
                dense: linear(5 * 5 * 64, CLASSES, vb.pp("dense"))?,
            },
            Model::Cifar10Cnn => {
                let same = Conv2dConfig {
                    padding: 1,
                    ..config
                };
                Net::Cifar10Cnn {
                    conv: [
                        conv2d(3, 32, 3, same, vb.pp("conv1"))?,
                        conv2d(32, 32, 3, config, vb.pp("conv2"))?,
                        conv2d(32, 64, 3, same, vb.pp("conv3"))?,
                        conv2d(64, 64, 3, config, vb.pp("conv4"))?,
                    ],
                    dense: [
                        linear(6 * 6 * 64, 512, vb.pp("dense1"))?,
                        linear(512, CLASSES, vb.pp("dense2"))?,
                    ],
                }
            }
            Model::Mlp => Net::Mlp {
                dense: [
                    linear(784, 512, vb.pp("dense1"))?,
                    linear(512, 512, vb.pp("dense2"))?,
                    linear(512, CLASSES, vb.pp("dense3"))?,
                ],
            },
            Model::Resnet18 => bail!("candle trains no {}", model.name()),
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Net::MnistConvnet {
                conv1,
                conv2,
                dropout,
                dense,
            } => {
                let x = conv1.forward(x)?.relu()?.max_pool2d(2)?;
                let x = conv2.forward(&x)?.relu()?.max_pool2d(2)?;
                let x = dropout.forward(&x.flatten_from(1)?, true)?;
                dense.forward(&x)?
            }
            Net::Cifar10Cnn {
                conv: [a, b, c, d],
                dense: [e, f],
            } => {
                let (quarter, half) = (Dropout::new(0.25), Dropout::new(0.5));
                let x = b.forward(&a.forward(x)?.relu()?)?.relu()?;
                let x = quarter.forward(&x.max_pool2d(2)?, true)?;
                let x = d.forward(&c.forward(&x)?.relu()?)?.relu()?;
                let x = quarter.forward(&x.max_pool2d(2)?, true)?;
                let x = e.forward(&x.flatten_from(1)?)?.relu()?;
                f.forward(&half.forward(&x, true)?)?
            }
            Net::Mlp { dense: [a, b, c] } => {
                let x = a.forward(x)?.relu()?;
                let x = b.forward(&x)?.relu()?;
                c.forward(&x)?
            }
        })
    }
}
