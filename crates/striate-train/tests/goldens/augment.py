#!/usr/bin/env python3
"""Prints what Pillow and torchvision make of the pictures in the tests of src/augment/, as the rows of their tables.

    pip install pillow numpy torch torchvision
    python augment.py
"""

import numpy
import PIL
import torchvision
from PIL import Image
from pillow import digest, picture
from torchvision.transforms import functional

SIZE = (37, 53)

# Name, change in Rust, in torchvision, channels.
CHANGES = [
    ("darker", "|p, _| brightness(p, 0.3)", lambda i: functional.adjust_brightness(i, 0.3), (1, 3)),
    ("brighter", "|p, _| brightness(p, 1.7)", lambda i: functional.adjust_brightness(i, 1.7), (1, 3)),
    ("flatter", "|p, c| contrast(p, c, 0.3)", lambda i: functional.adjust_contrast(i, 0.3), (1, 3)),
    ("harder", "|p, c| contrast(p, c, 1.7)", lambda i: functional.adjust_contrast(i, 1.7), (1, 3)),
    ("paler", "|p, c| saturation(p, c, 0.3)", lambda i: functional.adjust_saturation(i, 0.3), (3,)),
    ("gaudier", "|p, c| saturation(p, c, 1.7)", lambda i: functional.adjust_saturation(i, 1.7), (3,)),
    ("smoother", "|p, c| sharpness(p, SIZE, c, 0.3, &mut vec![7; 3])", lambda i: functional.adjust_sharpness(i, 0.3), (1, 3)),
    ("sharper", "|p, c| sharpness(p, SIZE, c, 1.9, &mut Vec::new())", lambda i: functional.adjust_sharpness(i, 1.9), (1, 3)),
    ("solarized", "|p, _| solarize(p, 178.5)", lambda i: functional.solarize(i, 178.5), (1, 3)),
    ("wholly solarized", "|p, _| solarize(p, 0.0)", lambda i: functional.solarize(i, 0.0), (1,)),
    ("posterized", "|p, _| posterize(p, 3)", lambda i: functional.posterize(i, 3), (1, 3)),
    ("not posterized", "|p, _| posterize(p, 8)", lambda i: functional.posterize(i, 8), (1,)),
    ("stretched", "|p, c| { contrast(p, c, 0.4); autocontrast(p, c) }", lambda i: functional.autocontrast(functional.adjust_contrast(i, 0.4)), (1, 3)),
    ("equalized", "|p, c| { brightness(p, 1.7); equalize(p, c) }", lambda i: functional.equalize(functional.adjust_brightness(i, 1.7)), (1, 3)),
]


def main():
    rows = []
    for name, rust, change, channels in CHANGES:
        for count in channels:
            image = Image.fromarray(picture(*SIZE, count).squeeze())
            rows.append((name, rust, count, digest(numpy.asarray(change(image)))))
    print(f"    // Pillow {PIL.__version__}, torchvision {torchvision.__version__.split('+')[0]}")
    print("    #[rustfmt::skip]")
    print(f"    const GOLDENS: [Golden; {len(rows)}] = [")
    for name, rust, count, (a, b) in rows:
        print(f'        ("{name}", {rust}, {count}, ({a}, {b})),')
    print("    ];\n")
    colours = numpy.arange(0, 1 << 24, 13, dtype=numpy.uint32)
    colours = numpy.stack([colours & 255, (colours >> 8) & 255, colours >> 16], -1).astype(numpy.uint8)[None]
    rows = []
    for turn in (0.0, 0.1, -0.37, 0.5):
        a, b = digest(numpy.asarray(functional.adjust_hue(Image.fromarray(colours), turn)))
        rows.append(f"({turn}, ({a}, {b}))")
    print(f"    const HUES: [(f32, (u32, u32)); {len(rows)}] = [{', '.join(rows)}];")


if __name__ == "__main__":
    main()
