#!/usr/bin/env python3
"""Prints what Pillow and torchvision make of the pictures in the tests of src/resample.rs and src/image_file.rs, as the
rows of their tables.

    pip install pillow numpy torch torchvision
    python pillow.py
"""

import numpy
import PIL
import torchvision
from PIL import Image
from torchvision.transforms import InterpolationMode, functional

CASES = [
    ((40, 30), (20, 15)),
    ((37, 53), (16, 23)),
    ((37, 53), (37, 20)),
    ((64, 48), (17, 48)),
    ((9, 7), (31, 25)),
    ((300, 200), (24, 16)),
    ((5, 5), (1, 1)),
]


def picture(height, width, channels):
    y, x, c = numpy.indices((height, width, channels))
    return ((x * x * 7 + y * y * 5 + x * y * 3 + c * 50) % 256).astype(numpy.uint8)
# Size, shorter side, crop.
CROPS = [((37, 53), 28, (24, 24)), ((53, 37), 28, (23, 21)), ((20, 21), 64, (33, 56))]


def digest(out):
    out = out.astype(numpy.uint64).ravel()
    return out.sum(), int((out * numpy.arange(1, out.size + 1, dtype=numpy.uint64)).sum()) % 2**32


def main():
    print(f"    // Pillow {PIL.__version__}")
    for name, resample in (("Bilinear", Image.BILINEAR), ("Bicubic", Image.BICUBIC)):
        for size, to in CASES:
            for channels in (1, 3):
                image = Image.fromarray(picture(*size, channels).squeeze())
                found = digest(numpy.asarray(image.resize(to[::-1], resample)))
                print(f"        (Filter::{name}, {list(size)}, {list(to)}, {channels}, ({found[0]}, {found[1]})),")
    print(f"    // torchvision {torchvision.__version__.split('+')[0]}")
    for name, mode in (("Bilinear", InterpolationMode.BILINEAR), ("Bicubic", InterpolationMode.BICUBIC)):
        for size, short, crop in CROPS:
            image = functional.resize(Image.fromarray(picture(*size, 3)), [short], interpolation=mode, antialias=True)
            found = digest(numpy.asarray(functional.center_crop(image, crop)))
            print(f"        (Filter::{name}, {list(size)}, {short}, {list(crop)}, ({found[0]}, {found[1]})),")


if __name__ == "__main__":
    main()
