"""Writes what all peers must agree on: a network's parameters, the network as ONNX, images, and its logits in float64.

    python -m peers.export FOLDER NETWORK BATCH...

Batch normalisation gets statistics, scales and shifts that differ from channel to channel, so that none can be missing
or exchanged unseen.
"""

import json
import pathlib
import sys
import warnings

import numpy
import torch
from safetensors.torch import save_file
from torch import nn

from . import networks
from .workloads import COMPARED


def with_statistics(network, images):
    """Gives each batch norm the statistics that `images` have there, and a scale and shift of its own."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, mean=0.2, std=0.1)
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None
    if norms:
        network(images)
    return network.eval()


def pictures(count, shape):
    """Random images with large and small features: mere noise looks the same to a deep network every time."""
    large = nn.functional.interpolate(torch.randn(count, shape[0], 4, 4), size=shape[1:], mode="bilinear")
    return large + torch.randn(count, *shape) / 4


def export(folder, name, batches):
    torch.set_grad_enabled(False)
    network = networks.build(name, training=False)
    images = pictures(max(*batches, COMPARED), networks.image_shape(name))
    with_statistics(network, images[:8])
    parameters = {key: value for key, value in network.state_dict().items() if value.is_floating_point()}
    save_file(parameters, folder / "weights.safetensors")
    for batch in batches:
        numpy.save(folder / f"x{batch}.npy", images[:batch].numpy())
    axes = {"x": {0: "batch"}, "logits": {0: "batch"}}
    names = {"input_names": ["x"], "output_names": ["logits"], "dynamic_axes": axes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (images[:2],), folder / "model.onnx", dynamo=False, opset_version=17, **names)
    logits = network.double()(images[:COMPARED].double())
    (folder / "logits.json").write_text(json.dumps(logits.flatten().tolist()))


if __name__ == "__main__":
    export(pathlib.Path(sys.argv[1]), sys.argv[2], [int(batch) for batch in sys.argv[3:]])
