//! Trainings of networks with several inputs or outputs.

use super::{
    BatchLogs, array, check_history, check_logs, check_weights, list, optimizer, set_weights, text,
};
use crate::fixture::{Args, Case, Outcome, folder};
use crate::test_device::test_device;
use keros::callbacks::{CallbackList, Verbose};
use keros::data::{Array, Arrays, Batch, DataError, Shuffle};
use keros::nn::Graph;
use keros::nn::layers::{Concatenate, Dense};
use keros::train::{FitGeneratorOptions, FitOptions, Source, Trainer};
use std::fs;

/// `output = Dense1(sigmoid)(concat[Dense4(tanh)(input_1), Dense3(relu)(input_2)])`, trained on the
/// lines of a text file.
pub(super) fn two_inputs(case: &mut Case) -> Outcome {
    let mut graph = Graph::builder();
    let first = graph.input("input_1", [3]);
    let second = graph.input("input_2", [2]);
    let first = graph.layer(Dense::new(4).activation("tanh").name("h1"), first);
    let second = graph.layer(Dense::new(3).activation("relu").name("h2"), second);
    let both = graph.merge(Concatenate::new(-1), &[first, second]);
    let output = Dense::new(1).activation("sigmoid").name("output");
    let output = graph.layer(output, both);
    let graph = graph
        .build(&[("output", output)], test_device(), 0)
        .unwrap();
    let mut args = Args::of(Some(serde_json::Value::Object(Default::default())));
    std::mem::swap(&mut args, &mut case.args);
    set_weights(&graph, &case.inputs["initial_weights"]);
    let mut builder = Trainer::builder(graph)
        .optimizer(optimizer(&mut args)?)
        .loss(text(args.take("loss")).as_str());
    for metric in list(args.take("metrics")) {
        builder = builder.metric(text(Some(metric)).as_str());
    }
    let mut trainer = builder.compile().unwrap();
    let mut count = |name: &str| args.take(name).unwrap().as_u64().unwrap();
    let (rows, steps, epochs) = (
        count("batch_size"),
        count("steps_per_epoch"),
        count("epochs"),
    );
    let file = folder().join(text(args.take("file")));
    args.take("model").unwrap();
    args.finish()?;

    let lines: Vec<String> = fs::read_to_string(file)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    let batches: Vec<Batch> = lines.chunks(rows as usize).map(batch).collect();
    let endless = batches.into_iter().cycle().map(Ok::<Batch, DataError>);
    let mut logs = BatchLogs::default();
    let options = FitGeneratorOptions {
        steps_per_epoch: Some(steps),
        epochs,
        verbose: Verbose::Silent,
        callbacks: CallbackList::new().with(&mut logs),
        ..FitGeneratorOptions::default()
    };
    let history = trainer
        .fit_generator(Source::generator(endless), options)
        .unwrap();
    check_logs(case, "batch_logs", &logs.train)?;
    check_history(case, &history)?;
    check_weights(case, trainer.network())
}

/// The batch of some lines `numbers|numbers|label`.
fn batch(lines: &[String]) -> Batch {
    let mut columns = [const { Vec::new() }; 3];
    for line in lines {
        for (column, numbers) in columns.iter_mut().zip(line.split('|')) {
            column.extend(numbers.split(',').map(|n| n.parse::<f32>().unwrap()));
        }
    }
    let [first, second, label] = columns.map(|values| {
        let width = values.len() / lines.len();
        Array::from_vec(&[lines.len(), width], values).unwrap()
    });
    let inputs = Arrays::from_pairs([("input_1", first), ("input_2", second)]).unwrap();
    Batch::new(inputs, Arrays::from_pairs([("output", label)]).unwrap())
}

/// `h=Dense5(relu)(in); a=Dense3(softmax)(h); b=Dense1(linear)(h)`, with a loss each.
pub(super) fn several_outputs(case: &mut Case) -> Outcome {
    let x = array(&case.inputs["x"]);
    let mut graph = Graph::builder();
    let input = graph.input("in", [x.shape()[1]]);
    let h = graph.layer(Dense::new(5).activation("relu").name("h"), input);
    let a = graph.layer(Dense::new(3).activation("softmax").name("a"), h);
    let b = graph.layer(Dense::new(1).name("b"), h);
    let graph = graph
        .build(&[("a", a), ("b", b)], test_device(), 0)
        .unwrap();
    set_weights(&graph, &case.inputs["initial_weights"]);
    let args = &mut case.args;
    let mut builder = Trainer::builder(graph).optimizer(optimizer(args)?);
    let mut per_output = |name: &str| args.take(name).unwrap().as_object().unwrap().clone();
    for (output, loss) in per_output("loss") {
        builder = builder.loss_for(output, text(Some(loss)).as_str());
    }
    for (output, weight) in per_output("loss_weights") {
        builder = builder.loss_weight(output, weight.as_f64().unwrap());
    }
    for (output, metrics) in per_output("metrics") {
        for metric in list(Some(metrics)) {
            builder = builder.metric_for(output.as_str(), text(Some(metric)).as_str());
        }
    }
    let mut trainer = builder.compile().unwrap();
    let mut count = |name: &str| args.take(name).unwrap().as_u64().unwrap();
    let options = FitOptions {
        batch_size: Some(count("batch_size") as usize),
        epochs: count("epochs"),
        verbose: Verbose::Silent,
        shuffle: Shuffle::No,
        ..FitOptions::default()
    };
    args.take("model").unwrap();
    args.finish()?;
    let targets = ["a", "b"].map(|name| (name, array(&case.inputs["y"][name])));
    let y = Arrays::from_pairs(targets).unwrap();
    let history = trainer.fit(x, y, options).unwrap();
    check_history(case, &history)?;
    check_weights(case, trainer.network())
}
