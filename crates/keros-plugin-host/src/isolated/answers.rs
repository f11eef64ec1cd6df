//! What a plugin may ask for inside an event, answered from the run.

use super::wire::{Array, Ask, Bytes, Number, Optimizer, Param, Queue, Row, ToPlugin, WireLogs};
use keros_callbacks::{ArrayInfo, BoxError, Context, Logs, RunError};
use serde::Serialize;

/// What is asked for, or why it cannot be had.
pub(super) fn answer(
    ask: serde_json::Map<String, serde_json::Value>,
    cx: &mut Context<'_>,
) -> ToPlugin {
    let ask = match serde_json::from_value::<Ask>(ask.into()) {
        Ok(ask) => ask,
        Err(error) => {
            return ToPlugin::Refused {
                text: format!("asking for what this host does not offer: {error}"),
                unsupported: true,
            };
        }
    };
    match find(ask, cx) {
        Ok(value) => ToPlugin::Answer { value },
        Err(error) => ToPlugin::Refused {
            unsupported: matches!(error.downcast_ref(), Some(RunError::Unsupported { .. })),
            text: error.to_string(),
        },
    }
}

fn find(ask: Ask, cx: &mut Context<'_>) -> Result<serde_json::Value, BoxError> {
    match ask {
        Ask::Logs => json(&WireLogs(cx.logs()?.clone())),
        Ask::Params => json(&cx.params().iter().map(Param::from).collect::<Vec<_>>()),
        Ask::Param { index } => {
            let shape = shape_of_param(cx, index)?;
            array(shape, |values| cx.read_param(index, values))
        }
        Ask::Gradient { index } => {
            let shape = shape_of_param(cx, index)?;
            array(shape, |values| cx.read_gradient(index, values))
        }
        Ask::History => json(&cx.history()?.into_iter().map(Row::from).collect::<Vec<_>>()),
        Ask::Facts => Ok(serde_json::from_str(&cx.facts()?)?),
        Ask::Queue => json(&cx.queue().map(Queue::from)),
        Ask::Inputs => json(&cx.inputs()),
        Ask::Input { index } => {
            let ArrayInfo { shape, .. } = at("input", &cx.inputs(), index)?.clone();
            array(shape, |values| cx.read_input(index, values))
        }
        Ask::Optimizer => json(&Optimizer {
            numbers: WireLogs(cx.optimizer_numbers().into_iter().collect::<Logs>()),
            is_scheduled: cx.is_scheduled(),
        }),
        Ask::SetLog { key, value } => done(cx.set_log(&key, value)),
        Ask::SetParam { index, f32 } => {
            let elements: usize = shape_of_param(cx, index)?.iter().product();
            match f32.to_values() {
                Some(values) if values.len() == elements => done(cx.write_param(index, &values)),
                _ => Err(format!(
                    "setting parameter {index}: expected {elements} float32 values, found {} bytes",
                    f32.0.len()
                )
                .into()),
            }
        }
        Ask::SetOptimizerNumber { name, value } => {
            let Number(value) = value;
            done(cx.set_optimizer_number(&name, value))
        }
        Ask::SaveWeights { path } => done(cx.save_weights(path)),
        Ask::LoadWeights { path } => done(cx.load_weights(path)),
        Ask::SaveModel { path } => done(cx.save_model(path)),
        Ask::SwapAverages => done(cx.swap_averages()),
    }
}

fn json(value: &impl Serialize) -> Result<serde_json::Value, BoxError> {
    Ok(serde_json::to_value(value)?)
}

fn done(result: Result<(), BoxError>) -> Result<serde_json::Value, BoxError> {
    result.map(|()| serde_json::Value::Null)
}

fn array(
    shape: Vec<usize>,
    read: impl FnOnce(&mut Vec<f32>) -> Result<(), BoxError>,
) -> Result<serde_json::Value, BoxError> {
    let mut values = Vec::new();
    read(&mut values)?;
    let f32 = Bytes::of_values(&values);
    json(&Array { shape, f32 })
}

fn shape_of_param(cx: &Context<'_>, index: usize) -> Result<Vec<usize>, BoxError> {
    Ok(at("parameter", cx.params(), index)?.shape.clone())
}

fn at<'a, T>(what: &str, items: &'a [T], index: usize) -> Result<&'a T, BoxError> {
    let count = items.len();
    let none = || format!("expected the index of one of {count} {what}s, found {index}");
    Ok(items.get(index).ok_or_else(none)?)
}
