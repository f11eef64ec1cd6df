//! The program on a folder of two pictures and one other file.

use std::fs;
use std::process::Command;

#[test]
fn copies_lie_where_the_pictures_lay() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir_all(from.join("red")).unwrap();
    let red = image::RgbImage::from_pixel(20, 10, image::Rgb([200, 0, 0]));
    red.save(from.join("red/a.png")).unwrap();
    // The bytes say what a picture is, not the name.
    fs::copy(from.join("red/a.png"), from.join("red/a.jpg")).unwrap();
    fs::write(from.join("notes.txt"), "no picture").unwrap();

    let status = Command::new(env!("CARGO_BIN_EXE_augment-folder"))
        .args([&from, &to])
        .arg("2")
        .status()
        .unwrap();
    assert!(status.success());
    let copies = [
        "red/a.jpg.0.png",
        "red/a.jpg.1.png",
        "red/a.png.0.png",
        "red/a.png.1.png",
    ];
    let copies = copies.map(|name| image::open(to.join(name)).unwrap().into_rgb8());
    for (number, copy) in copies.iter().enumerate() {
        assert!(!copies[..number].contains(copy), "copy {number}");
    }
    assert_eq!(fs::read_dir(to.join("red")).unwrap().count(), 4);
    for copy in copies {
        assert_eq!(copy.dimensions(), (20, 10));
        let [red, green, blue] = copy.get_pixel(10, 5).0;
        assert!((160..=240).contains(&red) && green == 0 && blue == 0);
    }
}
