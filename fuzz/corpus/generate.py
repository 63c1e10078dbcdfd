#!/usr/bin/env python3
"""Writes the corpus that fuzzing begins with: for each reader a few small files, each of which shows it something else.

    pip install torch numpy safetensors pillow
    python generate.py
"""

import gzip
import io
import json
import pathlib
import struct
import zipfile

import numpy
import torch
from PIL import Image
from safetensors.numpy import save

FOLDER = pathlib.Path(__file__).parent


def put(target, name, content):
    folder = FOLDER / target
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)


def saved(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def pictures():
    y, x = numpy.indices((9, 12))
    colour = numpy.stack([x * 20, y * 25, x * y * 2], 2).astype(numpy.uint8)
    for name, image in (
        ("colour.png", Image.fromarray(colour)),
        ("grey.png", Image.fromarray(colour[:, :, 0])),
        ("palette.png", Image.fromarray(colour).quantize(8)),
        ("alpha.png", Image.fromarray(numpy.dstack([colour, colour[:, :, :1]]))),
        ("bits.png", Image.fromarray(colour[:, :, 0] > 100)),
    ):
        put("image", name, saved(lambda file: image.save(file, "PNG")))
    deep = Image.fromarray((colour[:, :, 0].astype(numpy.uint16) * 257))
    put("image", "deep.png", saved(lambda file: deep.save(file, "PNG")))
    for name, image, options in (
        ("colour.jpg", Image.fromarray(colour), {}),
        ("grey.jpg", Image.fromarray(colour[:, :, 0]), {"quality": 20}),
        ("progressive.jpg", Image.fromarray(colour), {"progressive": True, "exif": Image.Exif()}),
        ("cmyk.jpg", Image.fromarray(colour).convert("CMYK"), {}),
    ):
        put("image", name, saved(lambda file: image.save(file, "JPEG", **options)))


def tensors():
    w, n = numpy.float32([[1, -2], [0.5, 3]]), numpy.arange(3)
    put("safetensors", "two.safetensors", save({"fc.weight": w, "n": n}, {"key": "value"}))
    kinds = {str(kind): numpy.ones(2, kind) for kind in ("f2", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "u8", "?")}
    put("safetensors", "kinds.safetensors", save(kinds))
    put("safetensors", "empty.safetensors", save({"none": numpy.zeros((0, 3), "f4"), "scalar": numpy.ones((), "f4")}))

    put("npy", "matrix.npy", saved(lambda file: numpy.save(file, w)))
    put("npy", "bytes.npy", saved(lambda file: numpy.save(file, numpy.uint8([1, 2]))))
    put("npy", "scalar.npy", saved(lambda file: numpy.save(file, numpy.float64(1))))
    put("npy", "version2.npy", saved(lambda file: numpy.lib.format.write_array(file, w, (2, 0))))
    put("npz", "stored.npz", saved(lambda file: numpy.savez(file, x=w, n=n)))
    put("npz", "deflated.npz", saved(lambda file: numpy.savez_compressed(file, x=numpy.zeros((64, 64), "u1"), n=n)))

    for name, dims, kind in (("images", (3, 2, 2), 3), ("labels", (5,), 1)):
        count = int(numpy.prod(dims))
        head = struct.pack(f">BBBB{kind}I", 0, 0, 8, kind, *dims)
        put("idx", f"{name}.idx", head + bytes(range(count)))
        put("idx", f"{name}.gz", gzip.compress(head + bytes(range(count)), mtime=0))


def pickles():
    matrix = torch.arange(6.0).reshape(2, 3)
    half = torch.tensor([0.5, 2], dtype=torch.float16)
    states = {
        "state_dict": {"weight": matrix, "view": matrix.T, "half": half, "count": torch.tensor(3)},
        "checkpoint": {"epoch": 1, "state_dict": {"weight": matrix}, "lr": [0.1, {"a": (1, 2.5, None)}]},
        "parameter": {"p": torch.nn.Parameter(matrix[:1]), "e": torch.empty(0, 2), "s": matrix[1, 1].expand(4)},
    }
    for name, state in states.items():
        for protocol in (2, 4):
            content = saved(lambda file: torch.save(state, file, pickle_protocol=protocol))
            label = name if protocol == 2 else f"{name}4"
            if name != "parameter":
                put("pth", f"{label}.pth", content)
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                entry = next(entry for entry in archive.namelist() if entry.endswith("data.pkl"))
                put("pickle", f"{label}.pkl", archive.read(entry))


def networks():
    texts = {
        "vgg.net": "network v\ninput 3x32x32\nconv3-8 - relu - maxpool\n[conv3-16 - relu]*2 - maxpool\n[FC-32 - relu - dropout]*2\nFC-10 - softmax\n",
        "resnet.net": "input 1x28x28\nconv3-16 nobias - bn - relu\nb: [add( conv3-16/2 nobias - bn - relu - conv3-16 nobias - bn | conv1-16/2 nobias - bn ) - relu]*2\ngap - FC-10 - softmax\n",
        "inception.net": "input 3x32x32\nstem: conv7-8/2 - lrn - concat( conv1-4 - relu | conv1-4 - conv3-8 | maxpool3/1 - conv1-4 )\n@stem - conv3-8 groups 2 - avgpool - FC-3\n",
        "pattern.net": "[(CONV-RELU)*2-POOL?]*3-(FC-RELU)*1,SOFTMAX",
    }
    for name, text in texts.items():
        put("notation", name, text.encode())
    network = "network tiny\ninput 1x4x4\nclasses 2\nfc: FC-2\n"
    info = {"classes": ["a", "b"], "preprocess": {"shape": [1, 4, 4], "mean": [0.5], "std": [0.5], "fit": {"crop": {"short_side": 4}}}}
    parameters = {"fc.weight": numpy.ones((2, 16), "f4"), "fc.bias": numpy.zeros(2, "f4")}
    metadata = {"striate.network": network, "striate.info": json.dumps(info)}
    put("model", "tiny.safetensors", save(parameters, metadata))
    config = {"architecture": "resnet18", "num_classes": 2, "label_names": ["a", "b"], "pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "crop_pct": 0.95, "crop_mode": "center"}}
    put("model", "config.json", json.dumps(config).encode())


if __name__ == "__main__":
    pictures()
    tensors()
    pickles()
    networks()
