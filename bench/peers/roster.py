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

from .environment import output_of
from .workloads import COMPARED


@dataclass(frozen=True)
class Setting:
    """What holds for all measurements of a run."""

    threads: int
    seconds: float
    python: pathlib.Path
    striate: pathlib.Path


@dataclass(frozen=True)
class Peer:
    """Someone to measure: which workloads it runs, how, and the command that tells its version."""

    name: str
    runs: Callable
    measure: Callable
    version: Callable


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
        return [setting.python, "-c", tell]

    return Peer(name, runs, measure, version)


def torch_peer(mode):
    return python_peer(f"torch-{mode}", "torch_peer", "torch", lambda workload: True, mode)


def infers(*precisions, least_batch=1):
    """Runs inference in these precisions on so many images or more."""
    return lambda w: w.task == "infer" and w.precision in precisions and w.batch >= least_batch


PEERS = [
    Peer("striate", lambda workload: True, striate, lambda setting: [setting.striate, "--version"]),
    *(torch_peer(mode) for mode in ("eager", "channels_last", "compiled", "compiled-channels_last")),
    python_peer("onnxruntime", "onnx_peers", "onnxruntime", infers("f32")),
    python_peer("openvino", "onnx_peers", "openvino", infers("f32", "bf16")),
    python_peer("openvino-streams", "onnx_peers", "openvino", infers("f32", "bf16", least_batch=2)),
]
