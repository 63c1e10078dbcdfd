#!/usr/bin/env python3
"""Compares networks that Striate writes and reads as ONNX with ONNX Runtime.

    python3 crates/striate/tests/onnx/check.py [--python PYTHON] [--striate BINARY] [--opset N ...] [--speed] [NET ...]

Every network of the zoo (or those named) is exported with random parameters, checked by onnx.checker, and run by ONNX
Runtime and by Striate: probabilities and scores agree within 1e-4 of the greatest. The file is then read by Striate: the
same parameters and multiplications, the same scores. Three published networks (text detector, recogniser and orientation
classifier, from the package rapidocr-onnxruntime) are read and agree with ONNX Runtime within 1e-3; they are written
again, and what is written agrees too.

Needs Python 3 with onnx, onnxruntime and numpy: --python names one that has them, else an environment is made in
target/onnx-check (with pip, from the network). --speed times the three networks in both programs, interleaved.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
WORK = ROOT / "target" / "onnx-check"
PUBLISHED = "rapidocr-onnxruntime==1.4.4"
# Models of the package, and images that they are for.
MODELS = {
    "ch_PP-OCRv4_det_infer.onnx": [1, 3, 320, 320],
    "ch_PP-OCRv4_rec_infer.onnx": [1, 3, 48, 320],
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": [1, 3, 48, 192],
}


def environment(python):
    """Goes on in a Python that has what is needed."""
    if python:
        return python
    made = WORK / "venv" / "bin" / "python"
    if not made.exists():
        subprocess.run([sys.executable, "-m", "venv", WORK / "venv"], check=True)
        subprocess.run([made, "-m", "pip", "install", "--quiet", "onnx", "onnxruntime", "numpy"], check=True)
    return str(made)


def striate(args, binary):
    done = subprocess.run([binary, *map(str, args)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"striate {' '.join(map(str, args))}\n{done.stderr}")
    return done.stdout


def safetensors(tensors, path):
    """Writes float32 arrays by name."""
    header, begin = {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [begin, begin + array.nbytes]}
        begin += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in tensors.values():
            file.write(array.tobytes())


class Checks:
    def __init__(self, binary):
        self.binary = binary
        self.failed = 0

    def told(self, name, what, error, limit):
        ok = error <= limit
        self.failed += not ok
        print(f"{'ok  ' if ok else 'FAIL'}  {name:24} {what:32} {error:.1e}", flush=True)

    def close(self, name, what, found, wanted, limit):
        import numpy as np

        if found.shape != wanted.shape:
            found = found.reshape(wanted.shape) if found.size == wanted.size else np.full_like(wanted, np.inf)
        self.told(name, what, float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-30)), limit)

    def run(self, net, x, *more):
        """What Striate computes."""
        import numpy as np

        np.save(WORK / "x.npy", x)
        striate(["run", net, "--input", WORK / "x.npy", "--output", WORK / "y.npy", *more], self.binary)
        return np.load(WORK / "y.npy")

    def summary(self, net, *more):
        total = json.loads(striate(["summary", net, "--format", "json", *more], self.binary))["total"]
        return {key: total[key] for key in ("params", "macs")}

    def zoo(self, entry, opset):
        import numpy as np
        import onnx
        from onnx import numpy_helper

        name = entry["name"]
        file = WORK / "net.onnx"
        striate(["export", name, "--random", "-o", file, "--opset", opset], self.binary)
        model = onnx.load(file)
        onnx.checker.check_model(model, full_check=True)
        rng = np.random.default_rng(0)
        x = rng.standard_normal((2, *entry["input"]), dtype=np.float32)
        wanted, scores = runtime(model, x)
        weights = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in model.graph.initializer}
        safetensors(weights, WORK / "weights.safetensors")
        own = ["--weights", WORK / "weights.safetensors"]
        what = f"opset {opset}"
        self.close(name, f"{what}: outputs", self.run(name, x, *own), wanted, 1e-4)
        native = self.run(name, x, *own, "--logits")
        self.close(name, f"{what}: scores", native, scores, 1e-4)
        self.close(name, f"{what}: read again, scores", self.run(file, x, "--logits"), native, 1e-6)
        same = self.summary(name) == self.summary(file)
        self.told(name, f"{what}: read again, cost", 0.0 if same else 1.0, 0.0)

    def published(self, path, shape, speed):
        import numpy as np
        import onnx

        name = path.stem[:24]
        x = page(shape)
        model = onnx.load(path)
        wanted, _ = runtime(model, x)
        self.close(name, "read: outputs", self.run(path, x), wanted, 1e-3)
        again = WORK / "again.onnx"
        size = "x".join(map(str, shape[1:]))
        striate(["export", path, "--input", size, "-o", again], self.binary)
        written = onnx.load(again)
        onnx.checker.check_model(written, full_check=True)
        # What moves the batch was read for one image of all axes: it has one more when it is written.
        axes = len(written.graph.input[0].type.tensor_type.shape.dim)
        images = x[None] if axes > x.ndim else x
        self.close(name, "written again: ONNX Runtime", runtime(written, images)[0], wanted, 1e-3)
        if speed:
            self.speed(name, path, size, x)

    def speed(self, name, path, size, x):
        """Milliseconds of one image, medians of five interleaved rounds."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = os.cpu_count()
        session = ort.InferenceSession(path, options)
        feed = {session.get_inputs()[0].name: x}
        rounds = {"onnxruntime": [], "striate": []}
        for _ in range(5):
            times = []
            end = time.monotonic() + 2
            while time.monotonic() < end:
                begin = time.perf_counter()
                session.run(None, feed)
                times.append(time.perf_counter() - begin)
            rounds["onnxruntime"].append(1e3 * sorted(times)[len(times) // 2])
            out = striate(["bench", "infer", path, "--input", size, "--format", "json"], self.binary)
            rounds["striate"].append(json.loads(out.strip().splitlines()[-1])["step_ms"])
        median = {key: sorted(values)[2] for key, values in rounds.items()}
        ratio = median["onnxruntime"] / median["striate"]
        ms = ", ".join(f"{key} {value:.2f} ms" for key, value in median.items())
        print(f"      {name:24} {size}: {ms}, ratio {ratio:.2f}", flush=True)


def page(shape):
    """A picture of dark letters on light paper, as these networks take it: from -1 to 1."""
    import numpy as np

    glyphs = {  # seven rows of five pixels
        "S": [14, 17, 16, 14, 1, 17, 14],
        "T": [31, 4, 4, 4, 4, 4, 4],
        "R": [30, 17, 17, 30, 20, 18, 17],
        "I": [14, 4, 4, 4, 4, 4, 14],
        "A": [14, 17, 17, 31, 17, 17, 17],
        "E": [31, 16, 16, 30, 16, 16, 31],
    }
    _, _, height, width = shape
    paper = np.ones((height, width), dtype=np.float32)
    zoom = 4
    for top in range(10, height - 7 * zoom, 60):
        for index, letter in enumerate("STRIATE"):
            rows = [[row >> (4 - bit) & 1 for bit in range(5)] for row in glyphs[letter]]
            ink = np.kron(np.array(rows, dtype=np.float32), np.ones((zoom, zoom), dtype=np.float32))
            left = 12 + index * 6 * zoom
            if left + ink.shape[1] <= width:
                paper[top : top + ink.shape[0], left : left + ink.shape[1]] -= 1.8 * ink
    return np.broadcast_to(paper, shape).copy()


def runtime(model, x):
    """The first output, and the scores before a final softmax."""
    import onnx
    import onnxruntime as ort

    model = onnx.ModelProto.FromString(model.SerializeToString())
    output = model.graph.output[0].name
    scores = output
    for node in model.graph.node:
        if node.op_type == "Softmax" and output in node.output:
            scores = node.input[0]
    if scores != output:
        model.graph.output.append(onnx.ValueInfoProto(name=scores))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options)
    outputs = session.run([output, scores], {session.get_inputs()[0].name: x})
    return outputs


def published_models():
    folder = WORK / "published"
    if not all((folder / model).exists() for model in MODELS):
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PUBLISHED]
        subprocess.run(pip, check=True)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            for member in wheel.namelist():
                if Path(member).name in MODELS:
                    (folder / Path(member).name).write_bytes(wheel.read(member))
    return {folder / model: shape for model, shape in MODELS.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="a Python that has onnx, onnxruntime and numpy")
    parser.add_argument("--striate", default=str(ROOT / "target" / "release" / "striate"))
    parser.add_argument("--opset", type=int, action="append", help="versions to write [default: 18]")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("nets", nargs="*", metavar="NET", help="networks of the zoo, or 'published' [default: all]")
    args = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    python = environment(args.python)
    if Path(python).absolute() != Path(sys.executable).absolute():
        os.execv(python, [python, __file__, *sys.argv[1:], "--python", python])
    checks = Checks(args.striate)
    entries = json.loads(striate(["summary", "--list", "--format", "json"], args.striate))
    for entry in entries:
        if not args.nets or entry["name"] in args.nets:
            for opset in args.opset or [18]:
                checks.zoo(entry, opset)
    if not args.nets or "published" in args.nets:
        for path, shape in published_models().items():
            checks.published(path, shape, args.speed)
    sys.exit(f"{checks.failed} checks failed" if checks.failed else 0)


if __name__ == "__main__":
    main()
