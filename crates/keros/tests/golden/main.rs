//! Every recorded case of Keras, through the public interface.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod affine;
mod callbacks;
mod dirs;
mod extra;
mod fixture;
mod image_ops;
mod layers_conv;
mod layers_shape;
mod losses;
mod metrics;
mod optimizers;
mod test_device;
mod training;

#[test]
fn every_recorded_layer_is_in_one_of_the_suites() {
    let known = [layers_conv::LAYERS, layers_shape::LAYERS].concat();
    for case in fixture::load("layers") {
        let layer = case.args.text("layer").unwrap();
        let suites = known.iter().filter(|name| **name == layer).count();
        assert_eq!(suites, 1, "{}: {layer}", case.id);
    }
}
