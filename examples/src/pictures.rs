//! A picture of images with their true and predicted labels.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use keros::prelude::Array;
use std::fmt::Write;

const COLUMNS: usize = 8;
const TILE_PX: usize = 84;
const CELL_PX: (usize, usize) = (112, 132);

/// An SVG grid of grayscale images `[N, H, W, 1]` u8: the true class above each, below it the
/// predicted one with its probability, green where they agree, red and bold where not.
///
/// # Errors
/// Images of another form.
pub fn predictions_svg(
    images: &Array,
    labels: &[u8],
    predicted: &[(usize, f32)],
    classes: &[&str],
) -> Result<String> {
    let pixels = images.as_slice::<u8>().context("images are bytes")?;
    let [count, height, width, 1] = *images.shape() else {
        anyhow::bail!("expected images [N, H, W, 1], found {:?}", images.shape());
    };
    let rows = count.div_ceil(COLUMNS);
    let (cell_width, cell_height) = CELL_PX;
    let size = (COLUMNS * cell_width, rows * cell_height);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" \
         viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"12\" text-anchor=\"middle\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        size.0, size.1
    );
    for (i, tile) in pixels.chunks_exact(height * width).enumerate() {
        let mut png = Vec::new();
        PngEncoder::new(&mut png).write_image(
            tile,
            u32::try_from(width)?,
            u32::try_from(height)?,
            ExtendedColorType::L8,
        )?;
        let (truth, (class, probability)) = (usize::from(labels[i]), predicted[i]);
        let style = match truth == class {
            true => "fill=\"#1a7f37\"",
            false => "fill=\"#c62828\" font-weight=\"bold\"",
        };
        let (x, y) = ((i % COLUMNS) * cell_width, (i / COLUMNS) * cell_height);
        let middle = x + cell_width / 2;
        writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{}\" fill=\"#333\">{}</text>\
             <image x=\"{}\" y=\"{}\" width=\"{TILE_PX}\" height=\"{TILE_PX}\" \
             style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{}\"/>\
             <text x=\"{middle}\" y=\"{}\" {style}>{} {:.0}%</text>",
            y + 16,
            classes[truth],
            x + (cell_width - TILE_PX) / 2,
            y + 22,
            STANDARD.encode(&png),
            y + 22 + TILE_PX + 15,
            classes[class],
            probability * 100.0,
        )?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}
