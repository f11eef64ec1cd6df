"""Trains one network of the suite `train` with torch and prints the figures as a line of JSON.

The argument `torch` runs it eagerly, `torch-compiled` through torch.compile.
T0 is the time at which the process was started.
"""

import os
import sys
import time

T0 = float(os.environ.get("T0", time.time()))

import numpy
import torch
from torch import nn

import common


class Residual(nn.Module):
    """`relu(f(x) + x)`, where `x` is brought to the shape of `f(x)`."""

    def __init__(self, before, channels):
        super().__init__()
        stride = 1 if before == channels else 2
        self.body = nn.Sequential(
            *normalized(before, channels, 3, stride), nn.ReLU(), *normalized(channels, channels, 3, 1)
        )
        self.shortcut = nn.Sequential(*([] if stride == 1 else normalized(before, channels, 1, stride)))

    def forward(self, x):
        return nn.functional.relu(self.body(x) + self.shortcut(x))


def normalized(before, channels, size, stride):
    conv = nn.Conv2d(before, channels, size, stride, padding=size // 2, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


NETWORKS = {
    "mnist_convnet": lambda: [
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(64 * 5 * 5, 10),
    ],
    "cifar10_cnn": lambda: [
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(64 * 6 * 6, 512),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(512, 10),
    ],
    "mlp": lambda: [
        nn.Linear(784, 512),
        nn.ReLU(),
        nn.Linear(512, 512),
        nn.ReLU(),
        nn.Linear(512, 10),
    ],
    "resnet18": lambda: [
        *normalized(3, 64, 7, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
        *[Residual(*sizes) for sizes in [(64, 64), (64, 64), (64, 128), (128, 128)]],
        *[Residual(*sizes) for sizes in [(128, 256), (256, 256), (256, 512), (512, 512)]],
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, 1000),
    ],
}


def main():
    name = sys.argv.pop(1)
    asked = common.asked()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    x, y = (torch.from_numpy(array) for array in common.data(asked))
    network = nn.Sequential(*NETWORKS[asked.model]())
    train = train_on_cpu if asked.device == "cpu" else train_on_gpu
    epochs = train(asked, network, name == "torch-compiled", x, y)
    rates = []
    first_s = None
    begin = time.perf_counter()
    for end_of_epoch in epochs:
        if first_s is None:
            first_s = time.time() - T0
        if end_of_epoch:
            now = time.perf_counter()
            rates.append(len(x) / (now - begin))
            begin = now
    common.show(name, asked, rates, first_s)


def train_on_cpu(asked, network, compiled, x, y):
    """Yields after each step whether it ended an epoch. The numbers of each batch are read, as a progress bar does."""
    if x.dim() == 4:
        x = x.permute(0, 3, 1, 2).contiguous()
    run = torch.compile(network) if compiled else network
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-7)
    for _ in range(asked.epochs):
        total, correct = 0.0, 0
        batches = torch.randperm(len(x)).split(asked.batch_size)
        for number, rows in enumerate(batches, 1):
            optimizer.zero_grad(set_to_none=True)
            logits = run(x[rows])
            loss = nn.functional.cross_entropy(logits, y[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
            correct += (logits.argmax(1) == y[rows]).sum().item()
            yield number == len(batches)


def train_on_gpu(asked, network, compiled, x, y):
    """Yields after the first step, and at the end of each epoch, when its numbers are read.

    Bytes travel through page-locked memory beside the step before, the algorithms of convolutions are measured, and
    the optimizer is one kernel.
    """
    device = torch.device(asked.device)
    tf32 = asked.precision != "float32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    half = {"mixed_bfloat16": torch.bfloat16, "mixed_float16": torch.float16}.get(asked.precision)
    autocast = torch.autocast("cuda", half, enabled=half is not None)
    # Does nothing unless enabled; beside a fused optimizer it needs no number of the GPU for the step.
    scaler = torch.amp.GradScaler("cuda", enabled=half is torch.float16)
    network = network.to(device, memory_format=torch.channels_last)
    # The other mode is the one with CUDA graphs.
    mode = "default" if asked.no_cuda_graphs else "reduce-overhead"
    run = torch.compile(network, mode=mode) if compiled else network
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-7, fused=True)

    def batch(values, rows):
        pinned = torch.empty((len(rows), *values.shape[1:]), dtype=values.dtype, pin_memory=True)
        # Several times faster than index_select, and without a check that would cost a copy.
        numpy.take(values.numpy(), rows.numpy(), axis=0, out=pinned.numpy(), mode="clip")
        return pinned.to(device, non_blocking=True)

    first = True
    for _ in range(asked.epochs):
        total = torch.zeros((), device=device)
        correct = torch.zeros((), dtype=torch.int64, device=device)
        for rows in torch.randperm(len(x)).split(asked.batch_size):
            images, labels = batch(x, rows), batch(y, rows)
            if images.dim() == 4:
                images = images.permute(0, 3, 1, 2)
            optimizer.zero_grad(set_to_none=True)
            with autocast:
                logits = run(images.float().mul_(1 / 255))
                loss = nn.functional.cross_entropy(logits, labels)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            with torch.no_grad():
                total += loss * len(rows)
                correct += (logits.argmax(1) == labels).sum()
            if first:
                loss.item()
                first = False
                yield False
        assert torch.isfinite(total).item() and correct.item() <= len(x)
        yield True


if __name__ == "__main__":
    sys.exit(main())
