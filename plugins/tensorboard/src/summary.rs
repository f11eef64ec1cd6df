//! What a dashboard of TensorBoard shows, as the value of an event.
//!
//! The forms are those of `tf.summary` in TensorFlow 2: a tensor, and the name of the dashboard.

use crate::histogram;
use crate::picture::Pictures;
use crate::proto::{DataType, Dim, Metadata, PluginData, Shape, Tensor, Value};

/// A point of a curve.
pub(crate) fn scalar(tag: String, value: f64) -> Value {
    let tensor = Tensor {
        float_val: vec![value as f32],
        ..tensor(DataType::Float, &[])
    };
    shown("scalars", tag, tensor)
}

/// How the finite ones of the values are spread.
pub(crate) fn histogram(tag: String, values: &[f32]) -> Value {
    let rows = histogram::buckets(values);
    let tensor = Tensor {
        double_val: rows.as_flattened().to_vec(),
        ..tensor(DataType::Double, &[rows.len(), 3])
    };
    shown("histograms", tag, tensor)
}

/// Pictures beside each other, and what a reader should know of them, in Markdown.
pub(crate) fn images(tag: String, pictures: Pictures, description: &str) -> Value {
    let sizes = [pictures.width_px, pictures.height_px];
    let mut strings: Vec<Vec<u8>> = sizes.map(|size| size.to_string().into_bytes()).to_vec();
    strings.extend(pictures.pngs);
    let tensor = Tensor {
        dtype: DataType::String.into(),
        shape: shape(&[strings.len()]),
        string_val: strings,
        ..Tensor::default()
    };
    let mut value = shown("images", tag, tensor);
    if let Some(metadata) = &mut value.metadata {
        description.clone_into(&mut metadata.summary_description);
    }
    value
}

/// A text in Markdown.
pub(crate) fn text(tag: &str, markdown: String) -> Value {
    shown("text", tag.to_owned(), string(markdown))
}

/// A network in Keras's JSON, shown as a graph of its layers.
pub(crate) fn network(json: String) -> Value {
    let mut value = shown("graph_keras_model", "keras".to_owned(), string(json));
    let metadata = value.metadata.as_mut();
    if let Some(data) = metadata.and_then(|metadata| metadata.plugin_data.as_mut()) {
        // The version of the form.
        data.content = b"1".to_vec();
    }
    value
}

fn string(text: String) -> Tensor {
    Tensor {
        string_val: vec![text.into_bytes()],
        ..tensor(DataType::String, &[])
    }
}

fn tensor(dtype: DataType, sizes: &[usize]) -> Tensor {
    Tensor {
        dtype: dtype.into(),
        shape: shape(sizes),
        ..Tensor::default()
    }
}

fn shape(sizes: &[usize]) -> Option<Shape> {
    let dim = sizes.iter().map(|size| Dim { size: *size as i64 });
    Some(Shape { dim: dim.collect() })
}

fn shown(dashboard: &str, tag: String, tensor: Tensor) -> Value {
    Value {
        tag,
        tensor: Some(tensor),
        metadata: Some(Metadata {
            plugin_data: Some(PluginData {
                plugin_name: dashboard.to_owned(),
                content: Vec::new(),
            }),
            summary_description: String::new(),
        }),
    }
}
