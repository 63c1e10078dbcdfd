"""The interpreter of the Python peers, what they are given, and the machine."""

import hashlib
import os
import pathlib
import platform
import re
import subprocess
import sys
import venv

BENCH = pathlib.Path(__file__).resolve().parent.parent
ENVIRONMENT = BENCH / ".venv"
EXPORTED = BENCH / ".exported"
REQUIREMENTS = BENCH / "requirements.txt"
RUST_PEERS = BENCH / "rust-peers"


def say(message):
    print(message, file=sys.stderr, flush=True)


def output_of(command, variables={}):
    """What `command`, run in bench/, writes; a `RuntimeError` with its last words where it fails."""
    command = [str(part) for part in command]
    # Compiled code is kept, so that only the first run waits for the compiler.
    kept = {"TORCHINDUCTOR_CACHE_DIR": str(BENCH / ".compiled"), "PYTHONWARNINGS": "ignore"}
    how = {"capture_output": True, "text": True, "timeout": 1200, "cwd": BENCH, "env": os.environ | kept | variables}
    try:
        done = subprocess.run(command, **how)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(str(error)) from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        telling = next((line for line in lines if line.startswith("error:")), lines[-1])
        raise RuntimeError(f"{pathlib.Path(command[0]).name} ended with {done.returncode}: {telling}")
    return done.stdout


def set_up():
    """The interpreter of an environment with what is required now; makes it where there is none."""
    python = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    installed = ENVIRONMENT / "requirements.txt"
    if not installed.exists() or installed.read_text() != REQUIREMENTS.read_text():
        say(f"installing {' '.join(REQUIREMENTS.read_text().split())} into {ENVIRONMENT}")
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        installed.write_text(REQUIREMENTS.read_text())
    return python


def build_rust_peers():
    """Builds what measures the peers written in Rust; says so where that fails, and their rows stay empty."""
    say(f"building {RUST_PEERS}")
    command = ["cargo", "build", "--release", "--locked", "--quiet"]
    try:
        subprocess.run(command, cwd=RUST_PEERS, check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"without the peers written in Rust: {error}")


def export(network, batches, python):
    """The folder with the network's parameters, ONNX file, images and logits; written where it is not there as now."""
    folder = EXPORTED / network
    sources = [REQUIREMENTS, BENCH / "peers/export.py", BENCH / "peers/networks.py"]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    wanted = f"{digest} {batches}"
    stamp = folder / "stamp"
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"exporting {network}")
        folder.mkdir(parents=True, exist_ok=True)
        output_of([python, "-m", "peers.export", folder, network, *batches])
        stamp.write_text(wanted)
    return folder


def machine():
    """What the results depend on besides the programs."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    facts = dict(re.findall(r"^(\w[\w ]*?)\s*: (.*)$", cpuinfo.read_text(), re.M)) if cpuinfo.exists() else {}
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    telling = {"avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16"}
    return {
        "processor": facts.get("model name", platform.processor() or platform.machine()),
        "family and model": f"{facts.get('cpu family', '?')}/{facts.get('model', '?')}",
        "cores": os.cpu_count(),
        "instruction sets": " ".join(sorted(flags & telling)),
        "cache": facts.get("cache size", "unknown"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        # Above zero, others were using the machine when the run began.
        "load at start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else "unknown",
    }
