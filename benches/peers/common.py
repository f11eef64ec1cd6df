"""What the peers share: the request, random images and labels, and the line of JSON."""

import argparse
import json

import numpy

SHAPES = {"mnist_convnet": (28, 28, 1), "cifar10_cnn": (32, 32, 3), "mlp": (784,), "resnet18": (224, 224, 3)}


def asked():
    """The request, as the suite `train` writes it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=list(SHAPES), required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["float32", "tf32", "mixed_bfloat16", "mixed_float16"])
    parser.add_argument("--no-cuda-graphs", action="store_true")
    return parser.parse_args()


def data(asked):
    """Images, channels last, and labels: floats for the CPU, bytes for a GPU."""
    random = numpy.random.default_rng(1)
    shape = (asked.images, *SHAPES[asked.model])
    y = random.integers(0, 1000 if asked.model == "resnet18" else 10, asked.images)
    if asked.device == "cpu":
        return random.random(shape, numpy.float32), y
    return random.integers(0, 256, shape, numpy.uint8), y


def peak_mb():
    """The most memory this process ever had, in units of 1024 kB."""
    with open("/proc/self/status", encoding="ascii") as status:
        peak = next(line for line in status if line.startswith("VmHWM:"))
    return round(int(peak.split()[1]) / 1024)


def show(name, asked, rates, first_s):
    """Prints the figures; the first epoch, which holds the first step, is left out of several."""
    figures = {
        "impl": name,
        "model": asked.model,
        "bs": asked.batch_size,
        "ips": [round(rate, 1) for rate in rates[1:] or rates],
        "first_s": round(first_s, 3),
        "rss_mb": peak_mb(),
        "acc": None,
    }
    print(json.dumps(figures))
