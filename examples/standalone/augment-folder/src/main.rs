//! `augment-folder PICTURES OUT [COPIES]`: augmented copies of a folder of pictures, in another folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use keros_data::rng::{Purpose, stream};
use keros_data::{Array, ImageDataGenerator};
use keros_image::{ColorMode, Decoder, Format};
use walkdir::WalkDir;

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(from), Some(to)) = (words.next(), words.next()) else {
        anyhow::bail!("usage: augment-folder PICTURES OUT [COPIES]");
    };
    let copies = match words.next() {
        Some(word) => word
            .to_string_lossy()
            .parse()
            .context("COPIES is no number")?,
        None => 1,
    };
    let written = augment(&from, &to, copies)?;
    println!("{written} pictures in {}", to.display());
    Ok(())
}

/// Writes the copies, and tells how many.
fn augment(from: &Path, to: &Path, copies: u64) -> Result<u64> {
    let generator = ImageDataGenerator::new()
        .rotation_range(15.0)
        .width_shift_range(0.1)
        .zoom_range(0.1)
        .brightness_range(0.8, 1.2)
        .horizontal_flip(true);
    let decoder = Decoder::new().color_mode(ColorMode::Rgb);
    let mut written = 0;
    for (sample, entry) in (0..).zip(WalkDir::new(from).sort_by_file_name()) {
        let path = entry?.into_path();
        if path.is_dir() {
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        if Format::of(&bytes).is_none() {
            continue;
        }
        let image = decoder
            .decode(&bytes)
            .with_context(|| format!("reading {}", path.display()))?;
        let shape = image.shape();
        let image = Array::from_vec(&[shape.height, shape.width, 3], image.into_f32())?;
        for copy in 0..copies {
            // Drawn from the position in the sorted list and the number of the copy: the same folder gives the same
            // pictures.
            let mut rng = stream(42, Purpose::Custom, copy, sample);
            let copied = generator.random_transform(&image, &mut rng)?;
            let values = copied.into_vec::<f32>().unwrap_or_default();
            let pixels: Vec<u8> = values.iter().map(|value| value.round() as u8).collect();
            // Behind the whole name, so that a.jpg and a.png do not become one file.
            let mut name = path.strip_prefix(from)?.as_os_str().to_owned();
            name.push(format!(".{copy}.png"));
            let target = to.join(name);
            fs::create_dir_all(target.parent().unwrap_or(to))?;
            let (width, height) = (shape.width as u32, shape.height as u32);
            image::save_buffer(&target, &pixels, width, height, image::ColorType::Rgb8)
                .with_context(|| format!("writing {}", target.display()))?;
            written += 1;
        }
    }
    Ok(written)
}
