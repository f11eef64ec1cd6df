"""Takes augmented images from the workers of a library of Python as fast as they come: images per second with one
worker and with two, as a line of JSON.

Usage: prefetch.py keras|torchvision 28|32|224
"""

import json
import os
import statistics
import sys
import time

import augment

BATCH = 128
EPOCHS = 3


def with_keras(x, workers):
    """Threads of Keras's own queue, over the flow of its generator."""
    os.environ.setdefault("KERAS_BACKEND", "numpy")
    from keras.src.legacy.preprocessing.image import ImageDataGenerator
    from keras.src.trainers.data_adapters.py_dataset_adapter import OrderedEnqueuer

    generator = ImageDataGenerator(**augment.KERAS)
    flow = generator.flow(x.astype("float32"), batch_size=BATCH)

    def epoch():
        # As its `fit` does, which starts the workers anew for each epoch.
        queue = OrderedEnqueuer(flow, workers=workers, max_queue_size=10, shuffle=True)
        queue.start()
        batches = queue.get()
        for _ in range(len(flow)):
            next(batches)
        queue.stop()

    return epoch


def with_torchvision(x, workers):
    """Processes of PyTorch's loader, kept from epoch to epoch."""
    import torch

    change = augment.torchvision_transform()
    x = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())

    class Images(torch.utils.data.Dataset):
        def __len__(self):
            return len(x)

        def __getitem__(self, index):
            return change(x[index])

    loader = torch.utils.data.DataLoader(
        Images(), batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=True
    )

    def epoch():
        for _ in loader:
            pass

    return epoch


def rates(tool, x, workers):
    """Images per second of each epoch but the first, which has the start of the workers in it."""
    epoch = globals()["with_" + tool](x, workers)
    figures = []
    for _ in range(EPOCHS + 1):
        begin = time.perf_counter()
        epoch()
        figures.append(len(x) / (time.perf_counter() - begin))
    return figures[1:]


def main():
    tool, size = sys.argv[1], int(sys.argv[2])
    x = augment.images(size, {28: 12800, 32: 6400, 224: 256}[size])
    one, two = (rates(tool, x, workers) for workers in (1, 2))
    figures = {
        "tool": tool,
        "size": "x".join(map(str, x.shape[1:])),
        "one": [round(statistics.median(one)), round(min(one)), round(max(one))],
        "two": round(statistics.median(two)),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
