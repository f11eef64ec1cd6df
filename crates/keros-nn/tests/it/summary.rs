//! The summary, compared with what Keras 3.15 prints for the same network.

use crate::test_device::test_device;
use keros_nn::layers::{Concatenate, Conv2D, Dense, Dropout, Flatten, MaxPooling2D};
use keros_nn::{Graph, Network, Sequential, summary};

const BY_KERAS: &str = "\
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape           ┃       Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ conv2d (Conv2D)                 │ (None, 26, 26, 32)     │           320 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ max_pooling2d (MaxPooling2D)    │ (None, 13, 13, 32)     │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ conv2d_1 (Conv2D)               │ (None, 11, 11, 64)     │        18,496 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ max_pooling2d_1 (MaxPooling2D)  │ (None, 5, 5, 64)       │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ flatten (Flatten)               │ (None, 1600)           │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ dropout (Dropout)               │ (None, 1600)           │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ a_head_with_a_very_long_name_t… │ (None, 10)             │        16,010 │
│ (Dense)                         │                        │               │
└─────────────────────────────────┴────────────────────────┴───────────────┘
 Total params: 34,826 (136.04 KB)
 Trainable params: 34,506 (134.79 KB)
 Non-trainable params: 320 (1.25 KB)
";

#[test]
fn the_table_is_that_of_keras() {
    let mut network = Sequential::builder([28, 28, 1])
        .layer(Conv2D::new(32, 3))
        .layer(MaxPooling2D::new(2))
        .layer(Conv2D::new(64, 3))
        .layer(MaxPooling2D::new(2))
        .layer(Flatten::new())
        .layer(Dropout::new(0.5))
        .layer(Dense::new(10).name("a_head_with_a_very_long_name_that_wraps_around"))
        .build(test_device(), 0)
        .unwrap();
    for name in ["conv2d/kernel", "conv2d/bias"] {
        let id = network.params().id(name).unwrap();
        network
            .params_mut()
            .get_mut(id)
            .unwrap()
            .set_trainable(false);
    }
    assert_eq!(summary(&network), BY_KERAS);
}

const CONNECTED_BY_KERAS: &str = "\
┏━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━┓
┃ Layer (type)        ┃ Output Shape      ┃    Param # ┃ Connected to      ┃
┡━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━┩
│ image (InputLayer)  │ (None, 28, 28, 1) │          0 │ -                 │
├─────────────────────┼───────────────────┼────────────┼───────────────────┤
│ another_image_with… │ (None, 28, 28, 1) │          0 │ -                 │
│ (InputLayer)        │                   │            │                   │
├─────────────────────┼───────────────────┼────────────┼───────────────────┤
│ conv (Conv2D)       │ (None, 26, 26, 8) │         80 │ image[0][0],      │
│                     │                   │            │ another_image_wi… │
├─────────────────────┼───────────────────┼────────────┼───────────────────┤
│ conv2d (Conv2D)     │ (None, 26, 26, 4) │         40 │ image[0][0]       │
├─────────────────────┼───────────────────┼────────────┼───────────────────┤
│ joined              │ (None, 26, 26,    │          0 │ conv[0][0],       │
│ (Concatenate)       │ 20)               │            │ conv[1][0],       │
│                     │                   │            │ conv2d[0][0]      │
├─────────────────────┼───────────────────┼────────────┼───────────────────┤
│ flatten (Flatten)   │ (None, 13520)     │          0 │ joined[0][0]      │
├─────────────────────┼───────────────────┼────────────┼───────────────────┤
│ digit (Dense)       │ (None, 10)        │    135,210 │ flatten[0][0]     │
├─────────────────────┼───────────────────┼────────────┼───────────────────┤
│ same (Dense)        │ (None, 1)         │     13,521 │ flatten[0][0]     │
└─────────────────────┴───────────────────┴────────────┴───────────────────┘
 Total params: 148,851 (581.45 KB)
 Trainable params: 148,851 (581.45 KB)
 Non-trainable params: 0 (0.00 B)
";

#[test]
fn a_graph_shows_what_its_layers_are_connected_to() {
    let mut g = Graph::builder();
    let image = g.input("image", [28, 28, 1]);
    let other = g.input("another_image_with_a_long_name", [28, 28, 1]);
    let conv = g.shared(Conv2D::new(8, 3).name("conv"));
    let (x, y) = (g.apply(conv, image), g.apply(conv, other));
    let z = g.layer(Conv2D::new(4, 3), image);
    let joined = g.merge(Concatenate::new(-1).name("joined"), &[x, y, z]);
    let flat = g.layer(Flatten::new(), joined);
    let digit = g.layer(Dense::new(10).name("digit"), flat);
    let same = g.layer(Dense::new(1).name("same"), flat);
    let network = g.build(&[("digit", digit), ("same", same)], test_device(), 0);
    assert_eq!(summary(&network.unwrap()), CONNECTED_BY_KERAS);

    let mut g = Graph::builder();
    let x = g.input("x", [4]);
    let x = g.layer(Dense::new(2), x);
    let x = g.layer(Dense::new(3), x);
    let chain = g.build(&[("y", x)], test_device(), 0).unwrap();
    assert!(chain.connections().is_empty());
    assert!(summary(&chain).contains("│ x (InputLayer)                  │ (None, 4)  "));

    let mut g = Graph::builder();
    let x = g.input("x", [4]);
    let dense = g.shared(Dense::new(4));
    let x = g.apply(dense, x);
    let x = g.apply(dense, x);
    let twice = g.build(&[("y", x)], test_device(), 0).unwrap();
    assert!(summary(&twice).contains("│ x[0][0],          │"));
    assert!(summary(&twice).contains("│ dense[0][0]       │"));
}
