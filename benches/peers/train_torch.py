"""Trains one network of the suite `train` with torch, eagerly, and prints the figures as a line of JSON.

T0 is the time at which the process was started.
"""

import os
import sys
import time

T0 = float(os.environ.get("T0", time.time()))

import torch
from torch import nn

import common

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
}


def main():
    asked = common.asked()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    x, y = (torch.from_numpy(array) for array in common.data(asked))
    if x.dim() == 4:
        x = x.permute(0, 3, 1, 2).contiguous()
    network = nn.Sequential(*NETWORKS[asked.model]())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-7)
    rates = []
    first_s = None
    for _ in range(asked.epochs):
        begin = time.perf_counter()
        total, correct = 0.0, 0
        for rows in torch.randperm(len(x)).split(asked.batch_size):
            optimizer.zero_grad(set_to_none=True)
            logits = network(x[rows])
            loss = nn.functional.cross_entropy(logits, y[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
            correct += (logits.argmax(1) == y[rows]).sum().item()
            if first_s is None:
                first_s = time.time() - T0
        rates.append(len(x) / (time.perf_counter() - begin))
    common.show("torch", asked, rates, first_s)


if __name__ == "__main__":
    sys.exit(main())
