#!/usr/bin/env python3
"""Fetches the ONNX standard's backend tests and runs them: what passes must be what the lists beside this file say.

    python3 crates/striate/tests/onnx/backend.py [--write]

The tests are in the package onnx 1.19.0, of which pip fetches the wheel into target/onnx-backend, once. --write writes
the lists anew.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
WORK = ROOT / "target" / "onnx-backend"
DATA = "onnx/backend/test/data/"
SUITES = ("node", "simple", "pytorch-converted", "pytorch-operator")


def fetch():
    """The wheel holds the same tests for every system; one is named, so that any Python can fetch it."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    system = ["--only-binary=:all:", "--platform", "manylinux2014_x86_64", "--python-version", "3.11"]
    subprocess.run([*pip, *system, "--dest", WORK, "onnx==1.19.0"], check=True)
    with zipfile.ZipFile(next(WORK.glob("onnx-1.19.0-*.whl"))) as wheel:
        wanted = [name for name in wheel.namelist() if name.startswith(tuple(f"{DATA}{suite}/" for suite in SUITES))]
        wheel.extractall(WORK, wanted)
    (WORK / "complete").touch()


def main():
    WORK.mkdir(parents=True, exist_ok=True)
    if not (WORK / "complete").exists():
        fetch()
    cargo = ["cargo", "run", "--quiet", "--package", "striate", "--example", "onnx_backend", "--"]
    sys.exit(subprocess.run([*cargo, WORK / DATA, *sys.argv[1:]], cwd=ROOT).returncode)


if __name__ == "__main__":
    main()
