"""The rows of the benchmark and what each must show."""

from dataclasses import dataclass

TORCH_F32 = ("torch-eager", "torch-channels_last", "torch-compiled", "torch-compiled-channels_last")
RUNTIMES_F32 = ("onnxruntime", "openvino", "openvino-streams", "tract", "rten", "candle", "burn")


@dataclass(frozen=True)
class Goal:
    """How many times faster than the best of some peers Striate must be at least, and aims to be."""

    least: float
    aim: float
    against: tuple


@dataclass(frozen=True)
class Workload:
    """A network of Striate's zoo, what is done with it in which precision, on how many images a step."""

    network: str
    task: str
    precision: str
    batch: int
    goal: Goal

    def __str__(self):
        return f"{self.task} {self.precision} {self.network} b={self.batch}"


def inference(precision, against, goals):
    for network, by_batch in goals.items():
        for batch, (least, aim) in by_batch.items():
            yield Workload(network, "infer", precision, batch, Goal(least, aim, against))


def training(precision, against, goals):
    for (network, batch), (least, aim) in goals.items():
        yield Workload(network, "train", precision, batch, Goal(least, aim, against))


INFERENCE_F32 = {
    "vgg16": {1: (1.8, 2.3), 32: (2.5, 3.2)},
    "resnet18": {1: (1.2, 1.5), 32: (1.5, 2.0)},
    "resnet50-v1.5": {1: (1.05, 1.25), 32: (1.15, 1.4)},
    "googlenet-bn": {1: (1.2, 1.5), 32: (1.2, 1.6)},
    "alexnet-owt": {1: (1.0, 1.1), 32: (1.25, 1.6)},
    "resnet20-cifar": {1: (1.1, 1.5), 128: (1.2, 2.0)},
    "lenet5": {1: (1.0, 2.0), 128: (1.1, 2.0)},
}
INFERENCE_BF16 = {
    **dict.fromkeys(("vgg16", "resnet18", "googlenet-bn"), {1: (1.1, 1.4), 32: (1.1, 1.4)}),
    **dict.fromkeys(("resnet50-v1.5", "alexnet-owt"), {1: (1.0, 1.15), 32: (1.0, 1.15)}),
}
TRAINING_F32 = {
    ("vgg16", 8): (3.0, 4.0),
    ("resnet18", 16): (1.8, 2.5),
    ("alexnet-owt", 64): (1.8, 2.5),
    ("resnet50-v1.5", 16): (1.3, 1.8),
    ("googlenet-bn", 16): (1.3, 1.8),
    ("resnet20-cifar", 128): (1.3, 2.0),
    ("lenet5", 128): (3.0, 5.0),
}
TRAINING_BF16 = dict.fromkeys((("resnet18", 16), ("resnet50-v1.5", 16), ("resnet20-cifar", 128)), (1.1, 1.4))

WORKLOADS = [
    *inference("f32", TORCH_F32 + RUNTIMES_F32, INFERENCE_F32),
    *inference("bf16", ("openvino", "openvino-streams"), INFERENCE_BF16),
    *training("f32", TORCH_F32 + ("burn",), TRAINING_F32),
    *training("bf16", ("torch-channels_last",), TRAINING_BF16),
]

NETWORKS = tuple(INFERENCE_F32)

# Peak memory: the workload of which the most resident memory counts, and Striate's share of the least of the peers'
# that is allowed and aimed at.
MEMORY = ("resnet50-v1.5", "train", "f32", 16)
MEMORY_GOAL = Goal(0.8, 0.5, TORCH_F32)

# Images whose logits are compared.
COMPARED = 4
# The largest difference to the logits in float64, as a share of the largest of them, that counts as agreement. In
# bfloat16 each layer rounds to 2^-9, and fifty layers of random parameters amplify that to as much as 0.06.
TOLERANCE = {"f32": 1e-3, "bf16": 1e-1}
