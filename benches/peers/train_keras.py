"""Trains one network of the suite `train` with Keras and prints the figures as a line of JSON.

KERAS_BACKEND chooses what computes; T0 is the time at which the process was started.
"""

import os
import sys
import time

T0 = float(os.environ.get("T0", time.time()))
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
from keras import layers

import common

# Layers by network; an activation of the last one, as Keras's users write it.
NETWORKS = {
    "mnist_convnet": lambda: [
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    ],
    "cifar10_cnn": lambda: [
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Dropout(0.25),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Dropout(0.25),
        layers.Flatten(),
        layers.Dense(512, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    ],
    "mlp": lambda: [
        layers.Dense(512, activation="relu"),
        layers.Dense(512, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ],
}


class Times(keras.callbacks.Callback):
    """Seconds to the end of the first batch, and of each epoch."""

    def __init__(self):
        super().__init__()
        self.first = None
        self.epochs = []

    def on_epoch_begin(self, epoch, logs=None):
        self.begin = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        if self.first is None:
            self.first = time.time() - T0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(time.perf_counter() - self.begin)


def main():
    asked = common.asked()
    if asked.model not in NETWORKS:
        sys.exit(f"{asked.model} is not written for Keras; there are: {', '.join(NETWORKS)}")
    x, y = common.data(asked)
    network = keras.Sequential([keras.Input(x.shape[1:]), *NETWORKS[asked.model]()])
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    times = Times()
    network.fit(
        x,
        y,
        batch_size=asked.batch_size,
        epochs=asked.epochs,
        verbose=0,
        callbacks=[times],
    )
    rates = [len(x) / seconds for seconds in times.epochs]
    common.show("keras-" + keras.backend.backend(), asked, rates, times.first)


if __name__ == "__main__":
    sys.exit(main())
