#!/usr/bin/env python3
"""Writes the goldens: small networks trained for ten steps by PyTorch in float64, stored as float32.

    pip install torch numpy safetensors
    python generate.py            # write every file anew
    python generate.py --check    # recompute and compare with the files, write nothing

What the files hold, and how exactly a float32 implementation can meet them, is in README.md.
"""

import argparse
import inspect
import json
import pathlib
import sys
from dataclasses import dataclass

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

FOLDER = pathlib.Path(__file__).parent
CLASSES = 10
STEPS = 10
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
# Two correctly computed float64 runs may still round to neighbouring float32 values.
CHECK_TOLERANCE = 1e-6
# A seed is fit for a golden when noise of the size of rounding cannot push a value over the kink of a ReLU or
# make another pixel win a pool: that would change gradients by far more than the noise.
NOISE = 1e-5
NOISE_TOLERANCE = 10 * NOISE
DISTURBANCES = range(12)


class Lenet5(nn.Module):
    """conv5x5-6 pad 2, relu, maxpool 2x2 s2, conv5x5-16, relu, maxpool 2x2 s2, conv5x5-120, relu, fc 84,
    relu, fc 10"""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.conv3 = nn.Conv2d(16, 120, 5)
        self.fc1 = nn.Linear(120, 84)
        self.fc2 = nn.Linear(84, CLASSES)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.conv3(x)).flatten(1)
        return self.fc2(F.relu(self.fc1(x)))


class AlexnetBits(nn.Module):
    """conv11x11-12 s4, relu, lrn size 5 k 2 alpha 0.5 beta 0.75, maxpool 3x3 s2, conv5x5-16 pad 2 groups 2,
    relu, fc 10"""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 11, stride=4),
            nn.ReLU(),
            # The paper's alpha of 1e-4 would leave sums over channels below what float32 can tell apart.
            nn.LocalResponseNorm(5, alpha=0.5, beta=0.75, k=2.0),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(12, 16, 5, padding=2, groups=2),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(nn.Linear(16 * 4 * 4, CLASSES))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class VggBlock(nn.Module):
    """conv3x3-12 pad 1, bn, relu, conv3x3-12 pad 1, bn, relu, maxpool 2x2 s2, global average pool, fc 10"""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Linear(12, CLASSES))

    def forward(self, x):
        return self.classifier(global_average(self.features(x)))


class ConvNormRelu(nn.Module):
    """GoogLeNet's unit in torchvision: convolution without bias, batch norm with eps 1e-3, relu."""

    def __init__(self, ic, oc, k, **geometry):
        super().__init__()
        self.conv = nn.Conv2d(ic, oc, k, bias=False, **geometry)
        self.bn = nn.BatchNorm2d(oc, eps=1e-3)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class GooglenetStem(nn.Module):
    """conv7x7-12 s2 pad 3 without bias, bn eps 1e-3, relu, maxpool 3x3 s2 ceil, global average pool, fc 10"""

    def __init__(self):
        super().__init__()
        self.conv1 = ConvNormRelu(3, 12, 7, stride=2, padding=3)
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x), 3, stride=2, ceil_mode=True)
        return self.fc(global_average(x))


class InceptionBlock(nn.Module):
    """concat(conv1x1-8; conv1x1-6, conv3x3-12 pad 1; conv1x1-4, conv3x3-6 pad 1; maxpool 3x3 s1 pad 1,
    conv1x1-4), each conv without bias and followed by bn eps 1e-3 and relu; global average pool, fc 10"""

    def __init__(self):
        super().__init__()
        ic = 10
        self.branch1 = ConvNormRelu(ic, 8, 1)
        self.branch2 = nn.Sequential(ConvNormRelu(ic, 6, 1), ConvNormRelu(6, 12, 3, padding=1))
        self.branch3 = nn.Sequential(ConvNormRelu(ic, 4, 1), ConvNormRelu(4, 6, 3, padding=1))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), ConvNormRelu(ic, 4, 1))
        self.fc = nn.Linear(8 + 12 + 6 + 4, CLASSES)

    def forward(self, x):
        branches = [self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)]
        return self.fc(global_average(torch.cat(branches, 1)))


class ResidualBlock(nn.Module):
    """What the two residual blocks share: the projection, the sum, and the head."""

    def __init__(self, ic, oc, stride):
        super().__init__()
        self.downsample = nn.Sequential(nn.Conv2d(ic, oc, 1, stride=stride, bias=False), nn.BatchNorm2d(oc))
        self.fc = nn.Linear(oc, CLASSES)

    def forward(self, x):
        return self.fc(global_average(F.relu(self.residual(x) + self.downsample(x))))


class BasicBlock(ResidualBlock):
    """add(conv3x3-12 s2 pad 1, bn, relu, conv3x3-12 pad 1, bn; conv1x1-12 s2, bn), convs without bias; relu,
    global average pool, fc 10"""

    def __init__(self):
        super().__init__(ic=8, oc=12, stride=2)
        self.conv1 = nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 12, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(12)

    def residual(self, x):
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))


class BottleneckBlock(ResidualBlock):
    """add(conv1x1-6, bn, relu, conv3x3-6 s2 pad 1, bn, relu, conv1x1-24, bn; conv1x1-24 s2, bn), convs
    without bias; relu, global average pool, fc 10"""

    def __init__(self):
        super().__init__(ic=16, oc=24, stride=2)
        self.conv1 = nn.Conv2d(16, 6, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(6)
        self.conv3 = nn.Conv2d(6, 24, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(24)

    def residual(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


def global_average(x):
    return x.mean((2, 3))


@dataclass(frozen=True)
class Case:
    """One golden: a network, the shape (N, C, H, W) it is fed, and how it is trained."""

    name: str
    network: type[nn.Module]
    input: tuple[int, int, int, int]
    lr: float
    seed: int
    # Parameters after the last step; left out where they would only add weight.
    final: bool = True


CASES = [
    Case("lenet5", Lenet5, (8, 1, 28, 28), lr=0.2, seed=14, final=False),
    Case("alexnet_bits", AlexnetBits, (4, 3, 43, 43), lr=0.02, seed=1),
    Case("vgg_block", VggBlock, (6, 3, 12, 12), lr=0.1, seed=4),
    Case("googlenet_stem", GooglenetStem, (5, 3, 32, 32), lr=0.1, seed=5),
    Case("inception_block", InceptionBlock, (6, 10, 7, 7), lr=0.2, seed=30),
    Case("basic_block", BasicBlock, (6, 8, 8, 8), lr=0.1, seed=1),
    Case("bottleneck_block", BottleneckBlock, (8, 16, 7, 7), lr=0.1, seed=5),
]


def initialise(network):
    """Gives batch norm something to do in both modes; everything else keeps PyTorch's initialisation."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


def state(network, prefix):
    """Parameters and buffers under their published names, without batch norm's count of batches."""
    items = network.state_dict().items()
    return {f"{prefix}.{name}": t.clone() for name, t in items if not name.endswith("num_batches_tracked")}


def compute(case, dtype=torch.float64, disturbance=None):
    """The tensors of one golden in `dtype`, from parameters and inputs that float32 represents exactly.

    A `disturbance` is the seed of relative noise in every parameter.
    """
    torch.manual_seed(case.seed)
    network = case.network()
    initialise(network)
    network.to(dtype)
    x = torch.randn(case.input).to(dtype).requires_grad_()
    labels = torch.randint(CLASSES, case.input[:1])
    if disturbance is not None:
        torch.manual_seed(disturbance)
        with torch.no_grad():
            for p in network.parameters():
                p.mul_(1 + NOISE * torch.randn_like(p))
    tensors = {"input": x, "labels": labels, **state(network, "param")}

    with torch.no_grad():
        tensors["eval.output"] = network.eval()(x)

    network.train()
    optimiser = torch.optim.SGD(network.parameters(), case.lr, MOMENTUM, weight_decay=WEIGHT_DECAY)
    losses = []
    for step in range(STEPS):
        optimiser.zero_grad()
        output = network(x)
        loss = F.cross_entropy(output, labels)
        loss.backward()
        losses.append(loss.detach())
        if step == 0:
            tensors["train.output"] = output
            tensors["grad.input"] = x.grad.clone()
            tensors |= {f"grad.{name}": p.grad.clone() for name, p in network.named_parameters()}
        optimiser.step()
    tensors["loss0"] = losses[0]
    tensors["losses"] = torch.stack(losses)
    if case.final:
        tensors |= state(network, "final")
    return {name: t.detach().to(torch.float32).contiguous() for name, t in tensors.items()}


def metadata(case):
    """What a reader must know besides the tensors: one JSON text, as several keys would be written in any order."""
    facts = {
        "description": " ".join(inspect.getdoc(case.network).split()),
        "lr": case.lr,
        "momentum": MOMENTUM,
        "weight_decay": WEIGHT_DECAY,
        "source": f"torch {torch.__version__.split('+')[0]}, float64",
    }
    return {"golden": json.dumps(facts)}


def deviation(tensors, reference):
    """The largest max|a - b| / max|b| over the tensors, and whose it is.

    A bias in front of batch norm has no gradient but rounding, so the parameters' gradients are measured
    against the largest value in any of them.
    """
    peak = {name: t.abs().max().item() for name, t in reference.items()}
    of_parameters = [name for name in peak if name.startswith("grad.") and name != "grad.input"]
    peak |= dict.fromkeys(of_parameters, max(peak[name] for name in of_parameters))
    errors = {name: (t - reference[name]).abs().max().item() / peak[name] for name, t in tensors.items()}
    worst = max(errors, key=errors.get)
    return errors[worst], worst


def read(path):
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    failed = False
    for case in CASES:
        path = FOLDER / f"{case.name}.safetensors"
        tensors = compute(case)
        if args.check:
            stored = read(path)
            same_names = tensors.keys() == stored.keys()
            error, worst = deviation(tensors, stored) if same_names else (float("inf"), "names differ")
            failed |= error > CHECK_TOLERANCE
            print(f"{case.name}: off by {error:.1e} ({worst})")
        else:
            save_file(tensors, path, metadata(case))
            path.chmod(0o644)
            single, worst = deviation(compute(case, torch.float32), tensors)
            moved, most_moved = max(deviation(compute(case, disturbance=d), tensors) for d in DISTURBANCES)
            failed |= moved > NOISE_TOLERANCE
            losses = tensors["losses"]
            print(
                f"{case.name}: {path.stat().st_size / 1024:.0f} KiB, loss {losses[0]:.4f} -> {losses[-1]:.4f}; "
                f"torch in float32 is off by {single:.1e} ({worst}), "
                f"noise of {NOISE:.0e} moves it by {moved:.1e} ({most_moved})"
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
