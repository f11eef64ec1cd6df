//! The losses that a GPU computes by itself: nothing is copied to the host and back.

use crate::test_device::test_device;
use keros_nn::losses::{
    BinaryCrossentropy, BinaryFocalCrossentropy, CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy, Circle, Ctc, Dice, Huber, Tversky,
};
use keros_nn::{
    Activation, CategoricalCrossentropy, Loss, MeanSquaredError, Output, Reduction,
    SparseCategoricalCrossentropy, Target,
};
use keros_tensor::{Stream, Tensor, Workspace, access};

fn random(dims: &[usize], stream: u64) -> Tensor {
    let mut values = vec![0.0; dims.iter().product()];
    Stream::new(7, stream).fill_uniform(0, 0.1, 0.9, &mut values);
    Tensor::from_vec(values, dims, test_device()).unwrap()
}

#[test]
fn losses_to_train_with_stay_on_the_gpu() {
    let ws = &mut Workspace::new(test_device());
    let weights = random(&[4], 1);
    let mut stays = |loss: &dyn Loss, dims: &[usize], activation, target: &Target| {
        let output = Output {
            logits: random(dims, 2),
            activation,
        };
        // A trainer has these on the host.
        let scale = loss.scale(&output, target, Some(&weights)).unwrap();
        let before = access::host_copies();
        let result = loss
            .compute(ws, &output, target, Some(&weights), scale as f32)
            .unwrap();
        assert_eq!(access::host_copies(), before, "{}", loss.name());
        assert_eq!(result.per_sample.dims(), [4]);
        assert_eq!(result.grad.dims(), dims);
    };
    let (linear, softmax) = (Activation::Linear, Activation::Softmax);
    let two_each = Tensor::new(&[[1_u32, 0], [1, 2], [2, 1], [0, 0]], test_device()).unwrap();
    stays(&Ctc::new(), &[4, 5, 3], linear, &Target::Labels(two_each));
    let classes = Tensor::new(&[0_u32, 1, 0, 1], test_device()).unwrap();
    stays(&Circle::new(), &[4, 3], linear, &Target::Labels(classes));
    for dims in [&[4, 3][..], &[4, 2, 3]] {
        let values = Target::Values(random(dims, 3));
        let rows = dims[..dims.len() - 1].to_vec();
        let labels: Vec<u32> = (0..rows.iter().product::<usize>() as u32)
            .map(|n| n % 3)
            .collect();
        let labels = Target::Labels(Tensor::from_vec(labels, rows, test_device()).unwrap());
        let sparse = SparseCategoricalCrossentropy::new();
        stays(&sparse, dims, softmax, &labels);
        stays(&sparse.from_logits(true), dims, linear, &labels);
        stays(&CategoricalCrossentropy::new(), dims, softmax, &values);
        for activation in [Activation::Sigmoid, linear] {
            stays(&BinaryCrossentropy::new(), dims, activation, &values);
            stays(&BinaryFocalCrossentropy::new(), dims, activation, &values);
        }
        let summed = MeanSquaredError::new().with_reduction(Reduction::Sum);
        stays(&summed, dims, linear, &values);
        stays(&Huber::new().delta(0.2).unwrap(), dims, linear, &values);
        let ignoring = sparse.ignore_class(1);
        stays(&ignoring, dims, softmax, &labels);
        stays(&sparse, dims, Activation::Sigmoid, &labels);
        for activation in [softmax, linear] {
            stays(
                &CategoricalFocalCrossentropy::new(),
                dims,
                activation,
                &values,
            );
        }
        let generalized = CategoricalGeneralizedCrossEntropy::new();
        stays(&generalized, dims, softmax, &labels);
        stays(&generalized, dims, linear, &labels);
        stays(&CategoricalCrossentropy::new(), dims, linear, &values);
        stays(&Dice::new(), dims, Activation::Sigmoid, &values);
        stays(&Dice::new().each_sample(true), dims, softmax, &values);
        stays(&Tversky::new(), dims, linear, &values);
        for name in [
            "mse",
            "mae",
            "mape",
            "msle",
            "huber",
            "log_cosh",
            "poisson",
            "hinge",
            "squared_hinge",
            "categorical_hinge",
            "kl_divergence",
            "cosine_similarity",
        ] {
            let loss: Box<dyn Loss> = name.parse().unwrap();
            stays(loss.as_ref(), dims, linear, &values);
        }
    }
}
