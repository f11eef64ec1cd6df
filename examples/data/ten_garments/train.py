"""Writes ten_garments.keras: a network that Keras has trained on the images in ../fashion-mnist."""
import gzip
import os

os.environ["KERAS_BACKEND"] = "jax"
import keras
import numpy as np
from keras import layers


def read(name):
    with gzip.open(f"../fashion-mnist/{name}-ubyte.gz") as file:
        raw = file.read()
    axes = raw[3]
    shape = np.frombuffer(raw, ">u4", axes, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def part(name):
    images = read(f"{name}-images-idx3")[..., None].astype("float32") / 255
    return images, read(f"{name}-labels-idx1")


keras.utils.set_random_seed(7)
model = keras.Sequential([
    keras.Input((28, 28, 1)),
    layers.Conv2D(16, 3, activation="relu", name="edges"),
    layers.MaxPooling2D(2, name="half"),
    layers.Conv2D(32, 3, activation="relu", name="shapes"),
    layers.MaxPooling2D(2, name="quarter"),
    layers.Conv2D(32, 3, activation="relu", name="parts"),
    layers.Flatten(name="features"),
    layers.Dropout(0.5, name="dropout"),
    layers.Dense(10, activation="softmax", name="garments"),
])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(*part("train"), epochs=20, batch_size=64, verbose=2, validation_data=part("t10k"))

# Without the state of the optimizer, which would make the file three times as large.
bare = keras.Sequential.from_config(model.get_config())
bare.set_weights(model.get_weights())
bare.save("ten_garments.keras")
