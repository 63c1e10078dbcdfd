"""Who is measured: for each peer the command that measures a workload and prints one JSON object.

The object has `median_ms`, where the system tells `peak_rss_mib` (and `baseline_rss_mib`, the peak before there was a
network), and for inference `logits`, those of the first images, computed before the clock ran.
"""

import array
import ast
import json
import pathlib
import re
import tempfile
from dataclasses import asdict, dataclass
from typing import Callable

from .environment import RUST_PEERS, output_of
from .workloads import COMPARED, NETWORKS


@dataclass(frozen=True)
class Setting:
    """What holds for all measurements of a run."""

    threads: int
    seconds: float
    python: pathlib.Path
    striate: pathlib.Path


@dataclass(frozen=True)
class Peer:
    """Someone to measure: which workloads it runs, what measures it, and what tells its version."""

    name: str
    runs: Callable
    measure: Callable
    version: Callable
    in_rust: bool = False


def striate(workload, setting, folder):
    """Measures Striate; its logits come from `striate run` with the same parameters and images."""
    machine = ["--threads", setting.threads, "--precision", workload.precision]
    logits = {}
    if workload.task == "infer":
        logits = {"logits": striate_logits(workload, setting, folder, machine)}
    what = [workload.task, workload.network, "--batch", workload.batch, "--seconds", setting.seconds]
    return json.loads(output_of([setting.striate, "bench", *what, *machine, "--format", "json"])) | logits


def striate_logits(workload, setting, folder, machine):
    with tempfile.TemporaryDirectory() as temporary:
        output = pathlib.Path(temporary) / "logits.npy"
        images = folder / f"x{workload.batch}.npy"
        what = [workload.network, "--weights", folder / "weights.safetensors", "--logits"]
        output_of([setting.striate, "run", *what, "--input", images, "--output", output, *machine])
        return read_npy(output)


def read_npy(path):
    """The elements of a float32 array."""
    content = path.read_bytes()
    end = 10 + int.from_bytes(content[8:10], "little")
    if ast.literal_eval(content[10:end].decode())["descr"] != "<f4":
        raise RuntimeError(f"{path}: not float32")
    return array.array("f", content[end:]).tolist()


def job(workload, setting, folder, mode):
    how = {"mode": mode, "threads": setting.threads, "seconds": setting.seconds}
    what = {key: value for key, value in asdict(workload).items() if key != "goal"}
    return json.dumps(what | how | {"folder": str(folder), "compared": COMPARED})


def python_peer(name, module, package, runs, mode=None):
    """A peer that a module of this package measures."""

    def measure(workload, setting, folder):
        command = [setting.python, "-m", f"peers.{module}", job(workload, setting, folder, mode or name)]
        return json.loads(output_of(command).splitlines()[-1])

    def version(setting):
        tell = f"from importlib.metadata import version; print('{package}', version('{package}'))"
        return output_of([setting.python, "-c", tell]).strip()

    return Peer(name, runs, measure, version)


def rust_peer(name, package, runs):
    """A peer that bench/rust-peers measures."""

    def measure(workload, setting, folder):
        command = [RUST_PEERS / "target/release/rust-peers", name, job(workload, setting, folder, name)]
        return json.loads(output_of(command, {"RAYON_NUM_THREADS": str(setting.threads)}))

    def version(setting):
        locked = re.findall(r'name = "(.*)"\nversion = "(.*)"', (RUST_PEERS / "Cargo.lock").read_text())
        return f"{name} {dict(locked)[package]}"

    return Peer(name, runs, measure, version, in_rust=True)


def torch_peer(mode, *runs):
    """PyTorch in one of its modes, which runs the named pairs of task and precision."""
    return python_peer(f"torch-{mode}", "torch_peer", "torch", lambda w: (w.task, w.precision) in runs, mode)


def infers(*precisions, least_batch=1):
    """Runs inference in these precisions on so many images or more."""
    return lambda w: w.task == "infer" and w.precision in precisions and w.batch >= least_batch


def infers_single(*networks):
    """Runs float32 inference of these networks on one image, and of two of them on a batch."""
    batches = ("resnet18", "lenet5")
    return lambda w: infers("f32")(w) and w.network in networks and (w.batch == 1 or w.network in batches)


def trains_lenet5(workload):
    return (workload.network, workload.task, workload.precision) == ("lenet5", "train", "f32")


PEERS = [
    Peer("striate", lambda workload: True, striate, lambda setting: output_of([setting.striate, "--version"]).strip()),
    # Inference without channels_last is slower throughout; compiled with frozen parameters it chooses its own format.
    torch_peer("eager", ("train", "f32")),
    torch_peer("channels_last", ("infer", "f32"), ("infer", "bf16"), ("train", "f32"), ("train", "bf16")),
    torch_peer("compiled", ("infer", "f32"), ("infer", "bf16"), ("train", "f32")),
    torch_peer("compiled-channels_last", ("train", "f32"), ("train", "bf16")),
    python_peer("onnxruntime", "onnx_peers", "onnxruntime", infers("f32")),
    python_peer("openvino", "onnx_peers", "openvino", infers("f32", "bf16")),
    python_peer("openvino-streams", "onnx_peers", "openvino", infers("f32", "bf16", least_batch=2)),
    rust_peer("tract", "tract-onnx", infers_single(*NETWORKS)),
    rust_peer("rten", "rten", infers_single(*NETWORKS)),
    rust_peer("candle", "candle-core", infers_single("lenet5", "vgg16", "resnet18", "resnet50-v1.5")),
    rust_peer("burn", "burn", lambda w: infers_single("lenet5", "resnet18")(w) or trains_lenet5(w)),
]
