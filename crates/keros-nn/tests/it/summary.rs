//! The summary, compared with what Keras 3.15 prints for the same network.

use crate::test_device::test_device;
use keros_nn::layers::{Conv2D, Dense, Dropout, Flatten, MaxPooling2D};
use keros_nn::{Network, Sequential, summary};

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
