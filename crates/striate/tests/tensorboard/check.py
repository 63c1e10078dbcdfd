#!/usr/bin/env python3
"""TensorBoard's own reader loads what `striate train --tensorboard` writes.

Usage: python3 crates/striate/tests/tensorboard/check.py [STRIATE]

STRIATE is the program, target/release/striate unless told otherwise (`cargo build --release`). Needs python3 with venv
and pip; TensorBoard comes with pip into a temporary environment, unless it can be imported already. A tiny run is
trained, interrupted and resumed; its events are read with TensorBoard's EventAccumulator and compared with the run's
own log.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
NETWORK = "conv5-4 - relu - maxpool/2 - block: conv3-8 - bn - relu - maxpool/2 - FC-10 - softmax"
EPOCHS = 3


def with_tensorboard():
    """Starts this script again where TensorBoard can be imported."""
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        if os.environ.get("STRIATE_CHECK_VENV"):
            raise
        folder = Path(tempfile.mkdtemp()) / "venv"
        venv.create(folder, with_pip=True)
        python = folder / "bin" / "python"
        # setuptools: TensorBoard still asks it where packages are.
        subprocess.run([python, "-m", "pip", "install", "--quiet", "tensorboard", "setuptools<81"], check=True)
        os.environ["STRIATE_CHECK_VENV"] = "1"
        os.execv(python, [str(python), *sys.argv])


def train(striate, run):
    """A run that is interrupted in its second epoch, and resumed."""
    command = [striate, "train", "--notation", NETWORK, "--epochs", str(EPOCHS), "--batch", "100"]
    process = subprocess.Popen([*command, "--run", run, "--tensorboard"], stderr=subprocess.DEVNULL)
    log = run / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 1):
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130, f"an interrupted run exits with 130, not {process.returncode}"
    resume = [striate, "train", "--resume", "--run", run, "--tensorboard"]
    subprocess.run(resume, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return [json.loads(line) for line in log.read_text().splitlines()]


def check(run, log):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    everything = {kind: 0 for kind in ("scalars", "histograms", "images", "tensors", "compressedHistograms")}
    events = EventAccumulator(str(run), size_guidance=everything)
    events.Reload()
    tags = events.Tags()
    assert len(log) == EPOCHS, log
    fields = {
        "loss/train": "train_loss",
        "loss/test": "test_loss",
        "accuracy/train": "train_accuracy",
        "accuracy/test": "test_accuracy",
        "accuracy/test_top5": "test_top5",
        "speed/images_per_s": "images_per_s",
        "speed/input_share": "input_share",
    }
    for tag, field in fields.items():
        read = [(event.step, event.value) for event in events.Scalars(tag)]
        assert [step for step, _ in read] == [line["step"] for line in log], (tag, read)
        for (_, value), line in zip(read, log):
            assert abs(value - line[field]) <= 1e-6 * max(1.0, abs(line[field])), (tag, value, line[field])
    steps = [event.step for event in events.Scalars("loss/step")]
    assert steps == list(range(10, EPOCHS * 600 + 1, 10)), "each step once, the interruption notwithstanding"
    assert len(events.Scalars("schedule/lr")) == len(steps)
    histograms = sorted(tags["histograms"])
    assert "block/conv1/weight" in histograms or any("weight" in tag for tag in histograms), histograms
    for tag in histograms:
        read = events.Histograms(tag)
        assert [event.step for event in read] == [line["step"] for line in log], tag
        value = read[-1].histogram_value
        assert value.min <= value.max and sum(value.bucket) == value.num > 0, tag
    [tag] = tags["images"]
    # One from the start, one from where the run was taken up.
    assert all(event.encoded_image_string.startswith(b"\x89PNG") for event in events.Images(tag)), tag
    assert tags["graph"], "the network is there"
    nodes = {node.name: node for node in graph(events)}
    assert nodes["image"].op == "Input" and any(node.op == "Conv2d" for node in nodes.values()), sorted(nodes)
    for node in nodes.values():
        assert all(name.split(":")[0] in nodes for name in node.input), node.name
    print(f"TensorBoard reads {len(tags['scalars'])} scalars, {len(histograms)} histograms, an image and {len(nodes)} nodes")


def graph(events):
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    definition = events.Graph()
    assert isinstance(definition, GraphDef)
    return definition.node


def main():
    with_tensorboard()
    striate = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/striate").resolve()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        check(run, train(striate, run))


if __name__ == "__main__":
    main()
