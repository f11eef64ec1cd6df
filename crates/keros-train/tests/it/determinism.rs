//! The same numbers to the last bit, whatever the workers, queue and threads.

use crate::support::weights;
use crate::test_device::test_device;
use keros_callbacks::Verbose;
use keros_data::{Array, FlowOptions, ImageDataGenerator};
use keros_nn::layers::{Conv2D, Dense, Dropout, Flatten, MaxPooling2D};
use keros_nn::{Activation, Sequential};
use keros_tensor::parallel;
use keros_train::{FitGeneratorOptions, Trainer};

fn run(workers: usize, max_queue_size: usize, threads: usize) -> (Vec<f64>, Vec<f32>) {
    let pixels: Vec<u8> = (0..60 * 12 * 12_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let images = Array::from_vec(&[60, 12, 12, 1], pixels).unwrap();
    let labels = Array::from_vec(&[60], (0..60_i64).map(|i| i % 3).collect()).unwrap();
    let flow = ImageDataGenerator::new()
        .rotation_range(20.0)
        .zoom_range(0.2)
        .horizontal_flip(true)
        .rescale(1.0 / 255.0)
        .flow(
            images,
            Some(labels),
            FlowOptions {
                batch_size: 8,
                seed: 5,
                ..FlowOptions::default()
            },
        )
        .unwrap();
    let network = Sequential::builder([12, 12, 1])
        .layer(Conv2D::new(8, 3).activation(Activation::Relu))
        .layer(MaxPooling2D::new(2))
        .layer(Flatten::new())
        .layer(Dropout::new(0.5))
        .layer(Dense::new(3).activation(Activation::Softmax))
        .build(test_device(), 1)
        .unwrap();
    let mut trainer = Trainer::builder(network)
        .optimizer("adam")
        .loss("sparse_categorical_crossentropy")
        .seed(2)
        .compile()
        .unwrap();
    let options = FitGeneratorOptions {
        epochs: 3,
        workers,
        max_queue_size,
        verbose: Verbose::Silent,
        ..FitGeneratorOptions::default()
    };
    let history = parallel::with_threads(threads, || trainer.fit_generator(flow, options)).unwrap();
    (history.get("loss"), weights(&trainer))
}

#[test]
fn workers_queue_and_threads_change_nothing() {
    let expected = run(0, 10, 1);
    for (workers, queue, threads) in [(1, 10, 1), (4, 2, 1), (8, 1, 2), (0, 10, 2), (1, 10, 2)] {
        assert_eq!(
            run(workers, queue, threads),
            expected,
            "{workers} {queue} {threads}"
        );
    }
}

#[test]
fn the_seed_changes_something() {
    let (x, y) = crate::support::problem(64);
    let losses = |seed| {
        let mut trainer = Trainer::builder(crate::support::network(0.25))
            .optimizer("adam")
            .loss("sparse_categorical_crossentropy")
            .seed(seed)
            .compile()
            .unwrap();
        let options = keros_train::FitOptions {
            verbose: Verbose::Silent,
            ..Default::default()
        };
        trainer
            .fit(x.clone(), y.clone(), options)
            .unwrap()
            .get("loss")
    };
    assert_eq!(losses(1), losses(1));
    assert_ne!(losses(1), losses(2));
}
