"""Augments random images with a library of Python: images per second in one process and in two, as a line of JSON.

Usage: augment.py cv2|keras|albumentations|torchvision 28|32|224
"""

import json
import multiprocessing
import statistics
import sys
import time

BATCH = 32
SECONDS = 0.7
# After which a process that says nothing has failed.
PATIENCE_S = 60


# The augmentation, in the words of Keras.
KERAS = {
    "rotation_range": 15,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "shear_range": 10,
    "zoom_range": 0.1,
    "horizontal_flip": True,
    "rescale": 1 / 255,
}


def images(size, count=None):
    """Random bytes, channels last; as many images as one pass takes if no number is given."""
    import numpy

    default, channels = {28: (2048, 1), 32: (1024, 3), 224: (64, 3)}[size]
    shape = (count or default, size, size, channels)
    return numpy.random.default_rng(0).integers(0, 256, shape, dtype=numpy.uint8)


def with_keras(x):
    import numpy
    from keras_preprocessing.image import ImageDataGenerator

    generator = ImageDataGenerator(**KERAS)
    flow = generator.flow(x.astype("float32"), numpy.zeros(len(x)), batch_size=BATCH)
    return lambda batch: flow[batch]


def with_cv2(x):
    """Warp, flip and scaling by hand: the least that a user of OpenCV writes. The shear is left out."""
    import cv2
    import numpy

    cv2.setNumThreads(1)
    size = x.shape[1]
    random = numpy.random.default_rng(1)
    centre = (size - 1) / 2

    def batch(number):
        out = numpy.empty((BATCH, *x.shape[1:]), numpy.float32)
        for row in range(BATCH):
            angle, scale = random.uniform(-15, 15), random.uniform(0.9, 1.1)
            matrix = cv2.getRotationMatrix2D((centre, centre), angle, scale)
            matrix[:, 2] += random.uniform(-0.1, 0.1, 2) * size
            image = cv2.warpAffine(
                x[number * BATCH + row],
                matrix,
                (size, size),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            if random.random() < 0.5:
                image = cv2.flip(image, 1)
            numpy.multiply(image.reshape(x.shape[1:]), numpy.float32(1 / 255), out=out[row])
        return out

    return batch


def with_albumentations(x):
    import albumentations
    import cv2
    import numpy

    cv2.setNumThreads(1)
    change = albumentations.Compose(
        [
            albumentations.Affine(
                rotate=(-15, 15),
                translate_percent=(-0.1, 0.1),
                shear=(-10, 10),
                scale=(0.9, 1.1),
                border_mode=cv2.BORDER_REPLICATE,
                interpolation=cv2.INTER_LINEAR,
                p=1,
            ),
            albumentations.HorizontalFlip(p=0.5),
            albumentations.ToFloat(max_value=255),
        ]
    )
    rows = lambda batch: x[batch * BATCH : (batch + 1) * BATCH]
    return lambda batch: numpy.stack([change(image=image)["image"] for image in rows(batch)])


def torchvision_transform():
    import torch
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    return v2.Compose(
        [
            v2.RandomAffine(
                15,
                translate=(0.1, 0.1),
                scale=(0.9, 1.1),
                shear=10,
                interpolation=v2.InterpolationMode.BILINEAR,
            ),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )


def with_torchvision(x):
    import torch

    change = torchvision_transform()
    x = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    return lambda batch: torch.stack([change(i) for i in x[batch * BATCH : (batch + 1) * BATCH]])


def rate(make, batches):
    """Images per second over some time."""
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        make(done % batches)
        done += 1
    return done * BATCH / (time.perf_counter() - begin)


def in_two_processes(measure):
    """The sum of what two processes find at the same time. Their images stay where they are: what it costs to bring
    them to the one that trains is not in it."""
    fork = multiprocessing.get_context("fork")
    ready, found = fork.Barrier(2, timeout=PATIENCE_S), fork.Queue()

    def run():
        ready.wait()
        found.put(measure())

    processes = [fork.Process(target=run, daemon=True) for _ in range(2)]
    for process in processes:
        process.start()
    both = sum(found.get(timeout=PATIENCE_S) for _ in processes)
    for process in processes:
        process.join()
    return both


def main():
    tool, size = sys.argv[1], int(sys.argv[2])
    x = images(size)
    make = globals()["with_" + tool](x)
    batches = len(x) // BATCH
    make(0)
    one = [rate(make, batches) for _ in range(3)]
    two = in_two_processes(lambda: rate(make, batches))
    figures = {
        "tool": tool,
        "size": "x".join(map(str, x.shape[1:])),
        "one": [round(statistics.median(one)), round(min(one)), round(max(one))],
        "two": round(two),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
