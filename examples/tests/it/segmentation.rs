//! `segmentation`: each pixel finds its garment, and the picture of it is there.

use crate::support::{csv, path, run};
use image::GenericImageView;
use keros::prelude::*;

#[test]
fn a_network_learns_which_garment_each_pixel_belongs_to() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let args = "--limit 3200 --epochs 4 --batch-size 10 --out";
    let args: Vec<&str> = args.split(' ').chain([path(&out)]).collect();
    let printed = run(env!("CARGO_BIN_EXE_segmentation"), &args);

    let overlap = |label: &str| -> f64 {
        let row = printed
            .lines()
            .find(|line| line.starts_with(label))
            .unwrap();
        row.split_whitespace().last().unwrap().parse().unwrap()
    };
    assert!(overlap("background") > 0.8, "{printed}");
    assert!(overlap("Bag") > 0.4, "{printed}");
    let mean = overlap("val_mean_io_u");
    assert!(mean > 0.25, "{printed}");

    let history = csv(&out.join("history.csv"));
    assert_eq!(history.len(), 5);
    assert!(
        history[0].iter().any(|key| key == "val_mean_io_u"),
        "{:?}",
        history[0]
    );
    let masks = image::open(out.join("masks.png")).unwrap();
    assert_eq!(masks.dimensions(), (8 * 56 * 2, 3 * 56 * 2));
    let network = load_network(out.join("model.safetensors"), &Device::Cpu).unwrap();
    assert_eq!(network.outputs()[0].shape, [56, 56, 11]);
}
