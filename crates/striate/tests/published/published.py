#!/usr/bin/env python3
"""torchvision's networks against Striate's, each with the same random weights.

    pip install torch torchvision numpy safetensors
    python published.py goldens             # write goldens.json, which the default tests read
    python published.py compare             # all networks in full: saved, loaded, logits and gradients compared
    python published.py compare resnet18 …  # some of them

`goldens` fills the networks with weights that follow from a formula (`fill`), which `tests/published.rs` computes as well.
`compare` gives them PyTorch's own random weights, saves those as .pth and as .safetensors, lets
`cargo run --example published` load them and compute, and compares every logit and every parameter's gradient with
PyTorch's in float64.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

import numpy
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

FOLDER = pathlib.Path(__file__).parent
ROOT = FOLDER.parents[3]

# torchvision's name and the side of the input in the goldens. Networks that end in a global average take any size; the
# others flatten the map that 224 pixels lead to.
NETWORKS = {
    "alexnet": 224,
    **{f"vgg{depth}{bn}": 224 for depth in (11, 13, 16, 19) for bn in ("", "_bn")},
    "googlenet": 64,
    **{f"resnet{depth}": 64 for depth in (18, 34, 50, 101, 152)},
}
# Logits that the goldens keep, of 1000.
KEPT = slice(0, None, 50)

# What `compare` allows, as a part of the largest value.
LOGITS = 1e-4
GRADIENTS = 1e-3
BATCH = 2


def build(name):
    """The network without heads for training and without dropout, which is random."""
    options = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = getattr(torchvision.models, name)(weights=None, **options)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def noise(name, count):
    """Numbers from −1 to 1 that follow from a name and their place, exact in float32."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = (seed ^ byte) * 0x01000193 % 2**32
    x = (numpy.arange(count, dtype=numpy.uint64) * 2654435761 + seed) % 2**32
    x ^= x >> 15
    x = x * 0x2C1B3C6D % 2**32
    x ^= x >> 12
    x = x * 0x297A2D39 % 2**32
    x ^= x >> 15
    return (x >> 8).astype(numpy.float32) / numpy.float32(2**23) - numpy.float32(1)


def fill(name, shape):
    """A parameter's elements: scales around 1, shifts around 0, weights that keep the size of activations."""
    count = int(numpy.prod(shape))
    values = noise(name, count)
    last = name.rsplit(".", 1)[1]
    if last == "running_var" or (last == "weight" and len(shape) == 1):
        values = numpy.float32(1) + numpy.float32(0.5) * values
    elif len(shape) == 1:
        values = numpy.float32(0.25) * values
    else:
        values = numpy.float32((6 / (count / shape[0])) ** 0.5) * values
    return torch.from_numpy(values.reshape(tuple(shape)))


def goldens():
    rows = {}
    for name, side in NETWORKS.items():
        network = build(name)
        state = {
            key: value if key.endswith("num_batches_tracked") else fill(key, value.shape)
            for key, value in network.state_dict().items()
        }
        network.load_state_dict(state)
        image = torch.from_numpy(noise("image", 3 * side * side).reshape(1, 3, side, side))
        with torch.no_grad():
            logits = network.double().eval()(image.double())[0]
        peak = logits.abs().max().item()
        rows[name] = {
            "side": side,
            "peak": float(f"{peak:.7g}"),
            "logits": [float(f"{value:.7g}") for value in logits[KEPT].tolist()],
        }
        print(f"{name}: largest logit {peak:.3f}")
    source = f"torch {torch.__version__.split('+')[0]}, torchvision {torchvision.__version__.split('+')[0]}, float64"
    lines = ",\n".join(f'    "{name}": {json.dumps(row)}' for name, row in rows.items())
    (FOLDER / "goldens.json").write_text(f'{{\n  "source": "{source}",\n  "networks": {{\n{lines}\n  }}\n}}\n')


def randomise(network):
    """PyTorch's initialisation, and something to do for batch norm in both modes."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


def off(found, reference, peak):
    return (found.double() - reference).abs().max().item() / peak


def compare(name, folder):
    torch.manual_seed(7)
    network = build(name)
    randomise(network)
    state = network.state_dict()
    torch.save(state, folder / "weights.pth")
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "weights.safetensors")
    image = torch.randn(BATCH, 3, 224, 224)
    labels = torch.randint(1000, (BATCH,))
    save_file({"image": image, "labels": labels.float()}, folder / "data.safetensors")

    start = time.time()
    network.double().eval()
    with torch.no_grad():
        logits = network(image.double())
    # Statistics as in inference: those of two images would make the gradients of deep networks depend on rounding.
    F.cross_entropy(network(image.double()), labels).backward()
    gradients = {key: parameter.grad for key, parameter in network.named_parameters()}
    seconds = time.time() - start

    outputs = {}
    for kind in ("safetensors", "pth"):
        out = folder / f"{kind}.out"
        # The gradients follow from the parameters; once suffices.
        more = ["--gradients"] if kind == "safetensors" else []
        command = ["cargo", "run", "--quiet", "-p", "striate", "--example", "published", "--", name]
        files = [folder / f"weights.{kind}", folder / "data.safetensors", out]
        subprocess.run([*command, *map(str, files), *more], cwd=ROOT, check=True)
        outputs[kind] = load_file(out)
    found = outputs["safetensors"]
    same = torch.equal(found["logits"], outputs["pth"]["logits"])
    of_logits = off(found["logits"], logits, logits.abs().max().item())
    missing = gradients.keys() ^ {key.removeprefix("grad.") for key in found if key != "logits"}
    largest = max(gradient.abs().max().item() for gradient in gradients.values())
    errors = {
        # A gradient that is nothing but rounding is measured by the largest of all.
        key: off(found[f"grad.{key}"], gradient, max(gradient.abs().max().item(), 1e-6 * largest))
        for key, gradient in gradients.items()
        if key not in missing
    }
    worst = max(errors, key=errors.get)
    good = same and not missing and of_logits <= LOGITS and errors[worst] <= GRADIENTS
    print(
        f"{name:<12} {'ok' if good else 'FAILED':<6} logits off by {of_logits:.1e}, {len(errors)} gradients by at most "
        f"{errors[worst]:.1e} ({worst}); .pth and .safetensors {'agree' if same else 'DIFFER'}"
        + (f"; not in both: {sorted(missing)}" if missing else "")
        + f"; PyTorch took {seconds:.0f} s",
        flush=True,
    )
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["goldens", "compare"])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(NETWORKS)}")
    args = parser.parse_args()
    if unknown := [name for name in args.networks if name not in NETWORKS]:
        parser.error(f"no network is called {unknown[0]}")
    if args.mode == "goldens":
        goldens()
        return 0
    good = True
    for name in args.networks or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            good &= compare(name, pathlib.Path(folder))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
