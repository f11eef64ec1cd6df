//! The same bits for any number of threads.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::Command;

use keros_tensor::kernels::{
    Activation, Conv2dSpec, Padding, Pool2dSpec, Update, adam_update, conv2d, conv2d_backward,
    dense, dense_backward, dropout, max_pool2d, max_pool2d_backward, softmax_cross_entropy,
};
use keros_tensor::{Stream, Tensor, Workspace, parallel};

use crate::support::{flat, labels, random};
use crate::test_device::test_device;

/// Two steps of a small network; a digest of every tensor on the way.
fn digest() -> u64 {
    let mut ws = Workspace::new(test_device());
    let mut hasher = DefaultHasher::new();
    let mut add = |tensor: &Tensor| {
        for value in flat(tensor) {
            value.to_bits().hash(&mut hasher);
        }
    };
    let samples = 37;
    let truth: Vec<u32> = (0..samples as u32).map(|n| n % 10).collect();
    let spec = Conv2dSpec {
        padding: Padding::Same,
        ..Conv2dSpec::default()
    };
    let pool = Pool2dSpec::new((2, 2));
    let w = [
        random(1, &[3, 3, 3, 32]),
        random(2, &[3, 3, 32, 20]),
        random(3, &[5 * 6 * 20, 150]),
        random(4, &[150, 10]),
    ];
    let zeros = |t: &Tensor| t.zeros_like().unwrap();
    let grads: Vec<Tensor> = w.iter().map(zeros).collect();
    let state: Vec<[Tensor; 2]> = w.iter().map(|w| [zeros(w), zeros(w)]).collect();
    let dbias = [random(5, &[32]), random(6, &[20]), random(7, &[150])];
    for step in 0..2 {
        ws.recycle();
        let relu = Activation::Relu;
        let x = random(10 + step, &[samples, 11, 13, 3]);
        let y1 = conv2d(&mut ws, &x, &w[0], Some(&dbias[0]), &spec, relu).unwrap();
        let y2 = conv2d(&mut ws, &y1, &w[1], None, &spec, relu).unwrap();
        let (p, argmax) = max_pool2d(&mut ws, &y2, &pool).unwrap();
        let d = dropout(&mut ws, &p, 0.3, Stream::new(1, step)).unwrap();
        let flat_d = d.reshape((samples, 5 * 6 * 20)).unwrap();
        let y3 = dense(&mut ws, &flat_d, &w[2], Some(&dbias[2]), relu).unwrap();
        let logits = dense(&mut ws, &y3, &w[3], None, Activation::Linear).unwrap();
        let (losses, dy) =
            softmax_cross_entropy(&mut ws, &logits, &labels(&truth), None, 0.1).unwrap();
        let linear = Activation::Linear;
        let dy = dense_backward(
            &mut ws, &y3, &w[3], &logits, &dy, linear, &grads[3], None, true,
        )
        .unwrap()
        .unwrap();
        let bias = Some(&dbias[2]);
        let dy = dense_backward(
            &mut ws, &flat_d, &w[2], &y3, &dy, relu, &grads[2], bias, true,
        )
        .unwrap()
        .unwrap();
        let dy = dropout(&mut ws, &dy, 0.3, Stream::new(1, step)).unwrap();
        let dy = dy.reshape(p.shape()).unwrap();
        let shape = y2.dims().try_into().unwrap();
        let dy = max_pool2d_backward(&mut ws, &dy, &argmax, shape, &pool).unwrap();
        let bias = Some(&dbias[1]);
        let dy = conv2d_backward(
            &mut ws, &y1, &w[1], &y2, &dy, &spec, relu, &grads[1], bias, true,
        )
        .unwrap()
        .unwrap();
        let bias = Some(&dbias[0]);
        let dx = conv2d_backward(
            &mut ws, &x, &w[0], &y1, &dy, &spec, relu, &grads[0], bias, true,
        )
        .unwrap()
        .unwrap();
        for tensor in [&losses, &dy, &dx].into_iter().chain(&grads).chain(&dbias) {
            add(tensor);
        }
        let updates: Vec<Update<'_>> = (0..w.len())
            .map(|i| Update {
                param: &w[i],
                grad: &grads[i],
                state: &state[i],
            })
            .collect();
        // A kernel larger than its images and the cache.
        let (x, large_w) = (random(20, &[5, 4, 4, 64]), random(21, &[3, 3, 64, 928]));
        let (dy, dw) = (random(22, &[5, 4, 4, 928]), zeros(&large_w));
        let large_dx = conv2d_backward(
            &mut ws, &x, &large_w, &dy, &dy, &spec, relu, &dw, None, true,
        )
        .unwrap()
        .unwrap();
        [&dw, &large_dx].into_iter().for_each(&mut add);
        adam_update(&updates, 1e-3, 0.9, 0.999, 1e-7).unwrap();
        w.iter().for_each(&mut add);
    }
    hasher.finish()
}

const CHILD: &str = "KEROS_TEST_DIGEST";

/// A pool is made once per process, so each number of threads gets a process: this test again.
#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    if std::env::var_os(CHILD).is_some() {
        println!("digest {:016x} threads {}", digest(), parallel::threads());
        return;
    }
    let expected = parallel::with_threads(1, digest);
    assert_eq!(digest(), expected);
    for threads in ["1", "3", "8"] {
        let name = "determinism::results_do_not_depend_on_the_number_of_threads";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .env("KEROS_NUM_THREADS", threads)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let line = format!("digest {expected:016x} threads {threads}");
        assert!(text.contains(&line), "expected {line:?} in {text}");
    }
}
