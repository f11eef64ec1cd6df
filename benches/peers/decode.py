"""Reads pictures and resizes them to 224 by 224 with a library of Python: pictures per second in one process and in
two, as a line of JSON.

Usage: decode.py PIL|PIL-draft|cv2|torchvision FOLDER
"""

import glob
import json
import os
import statistics
import sys
import time

import augment

SIZE = (224, 224)


def with_PIL(draft=False):
    import numpy
    from PIL import Image

    def read(path):
        with Image.open(path) as image:
            if draft:
                image.draft("RGB", SIZE)
            return numpy.asarray(image.convert("RGB").resize(SIZE, Image.BILINEAR))

    return read


def with_PIL_draft():
    return with_PIL(draft=True)


def with_cv2():
    import cv2

    cv2.setNumThreads(1)

    def read(path):
        image = cv2.resize(cv2.imread(path), SIZE, interpolation=cv2.INTER_LINEAR)
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    return read


def with_torchvision():
    import torch
    import torchvision
    from torchvision.transforms import v2

    torch.set_num_threads(1)

    def read(path):
        image = torchvision.io.decode_jpeg(torchvision.io.read_file(path))
        return v2.functional.resize(image, list(SIZE), antialias=True)

    return read


def main():
    tool, folder = sys.argv[1:]
    read = globals()["with_" + tool.replace("-", "_")]()
    paths = sorted(glob.glob(os.path.join(folder, "*.jp*g")))

    def rate():
        done, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < augment.SECONDS:
            read(paths[done % len(paths)])
            done += 1
        return done / (time.perf_counter() - begin)

    read(paths[0])
    one = [rate() for _ in range(3)]
    two = augment.in_two_processes(rate)
    figures = {
        "tool": tool,
        "one": [round(statistics.median(one), 1), round(min(one), 1), round(max(one), 1)],
        "two": round(two, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
