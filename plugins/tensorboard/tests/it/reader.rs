//! Reads event files back: frames, checksums and protocol buffers, written independently of the plugin.

use prost::Message;
use std::fs;
use std::path::{Path, PathBuf};

/// A value of an event, as a dashboard shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shown {
    pub(crate) step: i64,
    pub(crate) tag: String,
    pub(crate) dashboard: String,
    pub(crate) content: Vec<u8>,
    pub(crate) description: String,
    pub(crate) sizes: Vec<i64>,
    pub(crate) content_of: Content,
}

/// What a tensor holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    Strings(Vec<Vec<u8>>),
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(message, required, tag = "8")]
    tensor: Tensor,
    #[prost(message, required, tag = "9")]
    metadata: Metadata,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, required, tag = "1")]
    plugin_data: PluginData,
    #[prost(string, tag = "3")]
    description: String,
}

#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, required, tag = "2")]
    shape: Shape,
    #[prost(bytes = "vec", tag = "4")]
    content: Vec<u8>,
    #[prost(float, repeated, tag = "5")]
    floats: Vec<f32>,
    #[prost(double, repeated, tag = "6")]
    doubles: Vec<f64>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    strings: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "2")]
    dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, tag = "1")]
    size: i64,
}

/// Everything shown by the event files of a folder, in the order of their names.
pub(crate) fn read_run(folder: &Path) -> Vec<Shown> {
    files(folder).iter().flat_map(|file| read(file)).collect()
}

/// The event files of a folder in the order of their names.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Everything shown by one event file; its first event must tell the version.
pub(crate) fn read(file: &Path) -> Vec<Shown> {
    let bytes = fs::read(file).unwrap();
    let records = records(&bytes);
    let mut events = records.iter().map(|record| Event::decode(*record).unwrap());
    let first = events.next().expect("a first event");
    assert_eq!(first.file_version.as_deref(), Some("brain.Event:2"));
    assert!(first.wall_time > 1.6e9, "{}", first.wall_time);
    let mut shown = Vec::new();
    for event in events {
        assert!(event.wall_time >= first.wall_time.floor());
        for value in event.summary.expect("a summary").value {
            shown.push(Shown::of(event.step, value));
        }
    }
    shown
}

/// The records of a file, whose checksums are right.
fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_at(8);
        let (length_crc, rest) = rest.split_at(4);
        check_crc(length, length_crc);
        let length = u64::from_le_bytes(length.try_into().unwrap());
        let (record, rest) = rest.split_at(usize::try_from(length).unwrap());
        let (record_crc, rest) = rest.split_at(4);
        check_crc(record, record_crc);
        records.push(record);
        bytes = rest;
    }
    records
}

fn check_crc(bytes: &[u8], expected: &[u8]) {
    let crc = bitwise_crc32c(bytes);
    let masked = crc.rotate_right(15).wrapping_add(0xa282_ead8);
    assert_eq!(masked.to_le_bytes(), expected);
}

/// Castagnoli's polynomial, a bit at a time.
fn bitwise_crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
        }
    }
    !crc
}

impl Shown {
    fn of(step: i64, value: Value) -> Shown {
        let Tensor {
            dtype,
            shape,
            content,
            floats,
            doubles,
            strings,
        } = value.tensor;
        let floats_of = content
            .as_chunks::<4>()
            .0
            .iter()
            .copied()
            .map(f32::from_le_bytes);
        let doubles_of = content
            .as_chunks::<8>()
            .0
            .iter()
            .copied()
            .map(f64::from_le_bytes);
        Shown {
            step,
            tag: value.tag,
            dashboard: value.metadata.plugin_data.name,
            content: value.metadata.plugin_data.content,
            description: value.metadata.description,
            sizes: shape.dim.iter().map(|dim| dim.size).collect(),
            content_of: match dtype {
                1 => Content::Floats(floats.into_iter().chain(floats_of).collect()),
                2 => Content::Doubles(doubles.into_iter().chain(doubles_of).collect()),
                7 => Content::Strings(strings),
                dtype => unreachable!("{dtype}"),
            },
        }
    }

    /// A point of a curve: tag, step, value.
    pub(crate) fn point(&self) -> (&str, i64, f32) {
        match &self.content_of {
            Content::Floats(values) if self.dashboard == "scalars" => {
                (&self.tag, self.step, values[0])
            }
            _ => unreachable!("{self:?}"),
        }
    }

    /// The counts of a histogram that are not 0.
    pub(crate) fn counts(&self) -> Vec<f64> {
        assert_eq!(
            (self.dashboard.as_str(), &*self.sizes),
            ("histograms", &[30, 3][..])
        );
        match &self.content_of {
            Content::Doubles(rows) => {
                let counts = rows.chunks(3).map(|row| row[2]);
                counts.filter(|count| *count != 0.0).collect()
            }
            _ => unreachable!("{self:?}"),
        }
    }

    /// The width, height and pixels of pictures, all of one colour type.
    pub(crate) fn pictures(&self) -> (u32, u32, png::ColorType, Vec<Vec<u8>>) {
        let Content::Strings(strings) = &self.content_of else {
            unreachable!("{self:?}")
        };
        assert_eq!(self.dashboard, "images");
        assert_eq!(self.sizes, [strings.len() as i64]);
        let size = |i: usize| -> u32 { std::str::from_utf8(&strings[i]).unwrap().parse().unwrap() };
        let mut color = None;
        let pixels = strings[2..].iter().map(|file| {
            let mut reader = png::Decoder::new(std::io::Cursor::new(file))
                .read_info()
                .unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut pixels).unwrap();
            assert_eq!((info.width, info.height), (size(0), size(1)));
            color = Some(info.color_type);
            pixels
        });
        let pixels = pixels.collect();
        (size(0), size(1), color.expect("a picture"), pixels)
    }
}
