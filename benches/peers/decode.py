"""Reads pictures and resizes them to 224 by 224 with a library of Python: pictures per second on one thread and on
two, as a line of JSON.

Usage: decode.py PIL|PIL-draft|cv2|torchvision FOLDER
"""

import glob
import json
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

SIZE = (224, 224)


def with_PIL(path, draft=False):
    import numpy
    from PIL import Image

    with Image.open(path) as image:
        if draft:
            image.draft("RGB", SIZE)
        return numpy.asarray(image.convert("RGB").resize(SIZE, Image.BILINEAR))


def with_PIL_draft(path):
    return with_PIL(path, draft=True)


def with_cv2(path):
    import cv2

    cv2.setNumThreads(1)
    image = cv2.resize(cv2.imread(path), SIZE, interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def with_torchvision(path):
    import torch
    import torchvision
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    image = torchvision.io.decode_jpeg(torchvision.io.read_file(path))
    return v2.functional.resize(image, list(SIZE), antialias=True)


def main():
    tool, folder = sys.argv[1:]
    read = globals()["with_" + tool.replace("-", "_")]
    paths = sorted(glob.glob(os.path.join(folder, "*.jp*g")))

    def rate(each):
        begin = time.perf_counter()
        each()
        return len(paths) / (time.perf_counter() - begin)

    read(paths[0])
    one = [rate(lambda: [read(path) for path in paths]) for _ in range(3)]
    with ThreadPoolExecutor(2) as threads:
        two = rate(lambda: list(threads.map(read, paths, chunksize=10)))
    figures = {
        "tool": tool,
        "one": [round(statistics.median(one), 1), round(min(one), 1), round(max(one), 1)],
        "two_threads": round(two, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
