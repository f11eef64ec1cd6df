"""Reads a log folder that tests/it/python.rs wrote, with TensorBoard's own readers and its server."""

import json
import sys
import time
import urllib.parse
import urllib.request

from tensorboard import program
from tensorboard.backend.event_processing import data_provider
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.backend.event_processing import plugin_event_multiplexer
from tensorboard.data import provider
from tensorboard.plugins.graph import keras_util
from tensorboard.util import tensor_util

LOG_DIR = sys.argv[1]


def expect(found, expected):
    assert found == expected, f"expected {expected}, found {found}"


def accumulated():
    """The reader of one run."""
    events = event_accumulator.EventAccumulator(LOG_DIR + "/train", size_guidance={"tensors": 0})
    events.Reload()

    def points(tag):
        return [(e.step, float(tensor_util.make_ndarray(e.tensor_proto))) for e in events.Tensors(tag)]

    # Both starts of the training are one run.
    expect(points("epoch_loss"), [(0, 3.0), (1, 3.0)])
    expect(points("batch_loss"), [(1, 4.0), (2, 2.0), (3, 4.0), (4, 2.0)])
    expect(points("epoch_learning_rate"), [(0, 0.25), (1, 0.25)])


def provided():
    """What the dashboards ask for."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(LOG_DIR)
    multiplexer.Reload()
    data = data_provider.MultiplexerDataProvider(multiplexer, LOG_DIR)
    at = {"experiment_id": "", "ctx": None}
    at["ctx"] = __import__("tensorboard.context", fromlist=["RequestContext"]).RequestContext()
    expect({run.run_name for run in data.list_runs(**at)}, {"train", "validation"})

    scalars = data.read_scalars(plugin_name="scalars", downsample=100, **at)
    expect([(p.step, p.value) for p in scalars["validation"]["epoch_loss"]], [(0, 6.0), (1, 6.0)])
    points = scalars["validation"]["evaluation_loss_vs_iterations"]
    expect([(p.step, p.value) for p in points], [(2, 6.0), (4, 6.0)])

    histograms = data.read_tensors(plugin_name="histograms", downsample=100, **at)["train"]
    expect(
        set(histograms), {"dense/kernel/histogram", "dense/kernel/gradient/histogram"}
    )
    rows = histograms["dense/kernel/histogram"][0].numpy
    expect(rows.shape, (30, 3))
    expect((rows[0, 0], rows[-1, 1], rows[:, 2].sum()), (-1.0, 2.0, 4.0))

    images = data.read_blob_sequences(plugin_name="images", downsample=100, **at)["train"]
    expect(set(images), {"photo/samples", "dense/kernel/image"})
    samples = images["photo/samples"][0].values
    blobs = [data.read_blob(blob_key=blob.blob_key, **{"ctx": at["ctx"]}) for blob in samples]
    expect(blobs[:2], [b"5", b"4"])
    expect([blob[:4] for blob in blobs[2:]], [b"\x89PNG"] * 2)

    texts = data.read_tensors(plugin_name="text", downsample=100, **at)["train"]
    assert '"seed": 7' in texts["facts"][0].numpy.item().decode(), texts

    graphs = data.read_blob_sequences(plugin_name="graph_keras_model", downsample=100, **at)["train"]
    network = data.read_blob(blob_key=graphs["keras"][0].values[0].blob_key, ctx=at["ctx"])
    nodes = [node.name for node in keras_util.keras_model_to_graph_def(json.loads(network)).node]
    assert "golden/conv" in nodes and "golden/dense" in nodes, nodes


def served(load_fast):
    """What a browser gets, with the reader in Python and with the one in the data server."""
    server = program.TensorBoard()
    server.configure(
        argv=[None, "--logdir", LOG_DIR, "--port", "0", "--host", "127.0.0.1", "--load_fast", load_fast]
    )
    url = server.launch()
    query = urllib.parse.urlencode({"run": "train", "tag": "epoch_loss"})
    for _ in range(120):
        try:
            with urllib.request.urlopen(f"{url}data/plugin/scalars/scalars?{query}") as answer:
                points = [(step, value) for _, step, value in json.load(answer)]
        except urllib.error.HTTPError:
            points = []
        if len(points) == 2:
            break
        time.sleep(0.5)
    expect(points, [(0, 3.0), (1, 3.0)])


accumulated()
provided()
served("false")
served("true")
print("TensorBoard read everything")
