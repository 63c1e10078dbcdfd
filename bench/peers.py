#!/usr/bin/env python3
"""Measures Striate beside its peers on this machine: every peer in each of several interleaved rounds.

    cargo build --release -p striate-cli
    python3 bench/peers.py                                  # everything; sets up PyTorch on the first run
    python3 bench/peers.py --rounds 9 --peers striate,torch-compiled --networks lenet5
    python3 bench/peers.py --setup                          # only set up

Each measurement is a process of its own that prints one JSON object with `median_ms`, the median time of a
step. README.md says how to read the results.
"""

import argparse
import csv
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from typing import Callable

BENCH = pathlib.Path(__file__).resolve().parent
ENVIRONMENT = BENCH / ".venv"
REQUIREMENTS = "torch==2.15.0\nnumpy\n"

# PyTorch's ways of training: memory format, and whether the network is compiled.
TORCH_MODES = {
    "eager": ("contiguous_format", False),
    "channels_last": ("channels_last", False),
    "compiled": ("contiguous_format", True),
}
WARM_UP_STEPS = 5
LEAST_STEPS = 5


@dataclass(frozen=True)
class Workload:
    """A row of the benchmark: a network of Striate's zoo, what is done with it, on how many images a step."""

    network: str
    task: str
    batch: int


COLUMNS = ["round", "network", "task", "batch", "threads", "peer", "version", "median_ms", "images_per_s"]

WORKLOADS = [Workload("lenet5", "train", 128)]


@dataclass(frozen=True)
class Peer:
    """Someone to measure: the command that measures a workload, and the one that tells the version."""

    name: str
    measure: Callable[[Workload, argparse.Namespace], list]
    version: Callable[[argparse.Namespace], list]


def striate(workload, args):
    shape = ["--batch", workload.batch, "--threads", args.threads]
    return [args.striate, "bench", workload.task, workload.network, *shape, "--format", "json"]


def torch_in(mode):
    def command(workload, args):
        job = {
            "mode": mode,
            "network": workload.network,
            "task": workload.task,
            "batch": workload.batch,
            "threads": args.threads,
            "seconds": args.seconds,
        }
        return [args.python, __file__, "--torch-job", json.dumps(job)]

    return command


PEERS = [
    Peer("striate", striate, lambda args: [args.striate, "--version"]),
    *(
        Peer(
            f"torch-{mode}",
            torch_in(mode),
            lambda args: [args.python, "-c", "import torch; print('torch', torch.__version__)"],
        )
        for mode in TORCH_MODES
    ),
]


def torch_lenet5():
    """LeNet-5 as the zoo has it (61,706 parameters), the shape (C, H, W) of an image, and the classes."""
    from torch import nn

    layers = [nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 120, 5), nn.ReLU(), nn.Flatten()]
    layers += [nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    return nn.Sequential(*layers), (1, 32, 32), 10


TORCH_NETWORKS = {"lenet5": torch_lenet5}


def torch_train(network, x, labels):
    """The training step of `network` on one batch: forward, loss, gradients, update."""
    import torch

    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    criterion = torch.nn.CrossEntropyLoss()

    def step():
        optimiser.zero_grad(set_to_none=True)
        criterion(network(x), labels).backward()
        optimiser.step()

    return step


TORCH_TASKS = {"train": torch_train}


def run_torch_job(job):
    """Measures one of PyTorch's workloads in this process and prints the result."""
    import torch

    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    memory_format, compiled = TORCH_MODES[job["mode"]]
    network, image, classes = TORCH_NETWORKS[job["network"]]()
    network = network.to(memory_format=getattr(torch, memory_format))
    x = torch.randn(job["batch"], *image).contiguous(memory_format=getattr(torch, memory_format))
    labels = torch.randint(classes, (job["batch"],))
    step = TORCH_TASKS[job["task"]](torch.compile(network) if compiled else network, x, labels)

    for _ in range(WARM_UP_STEPS):
        step()
    times = []
    until = time.perf_counter() + job["seconds"]
    while len(times) < LEAST_STEPS or time.perf_counter() < until:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    print(json.dumps({"median_ms": statistics.median(times) * 1e3, "steps": len(times)}))


def set_up():
    """Makes the environment for the Python peers, unless it is there with what is required now."""
    installed = ENVIRONMENT / "requirements.txt"
    if installed.exists() and installed.read_text() == REQUIREMENTS:
        return
    say(f"installing {' '.join(REQUIREMENTS.split())} into {ENVIRONMENT}")
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    pip = [python_of(ENVIRONMENT), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *REQUIREMENTS.split()], check=True, stdout=sys.stderr)
    installed.write_text(REQUIREMENTS)


def python_of(environment):
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def describe_machine(args):
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
        "threads": args.threads,
        "rounds": args.rounds,
        # Above zero, others were using the machine when the run began.
        "load at start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else "unknown",
    }


def new_folder(machine):
    """An unused folder for a run of today, named after the machine."""
    kind = re.sub(r"[^a-z0-9]+", "-", f"{machine['processor']} {machine['cores']} cores".lower()).strip("-")
    stem = f"{datetime.date.today()}-{kind}"
    names = [stem, *(f"{stem}-{n}" for n in range(2, 1000))]
    folder = next(BENCH / "runs" / name for name in names if not (BENCH / "runs" / name).exists())
    folder.mkdir(parents=True)
    return folder


def output_of(command):
    """What `command` writes; a `RuntimeError` with its last words where it fails."""
    command = [str(part) for part in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(str(error)) from None
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {last[0]}")
    return done.stdout


def median_ms(peer, workload, args):
    answer = output_of(peer.measure(workload, args))
    try:
        return float(json.loads(answer)["median_ms"])
    except (ValueError, KeyError, TypeError):
        raise RuntimeError(f"no median_ms in its answer {answer[:200]!r}") from None


def measure(workloads, peers, args, folder):
    """All rounds, each result written as it comes; returns the times in ms by (workload, peer)."""
    versions = {}
    times = {}
    failures = set()
    with open(folder / "results.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for round_ in range(args.rounds):
            # The order turns from round to round, so that nobody always runs behind the same neighbour.
            turn = round_ % len(peers)
            for workload in workloads:
                for peer in [*peers[turn:], *peers[:turn]]:
                    key = workload, peer.name
                    if key in failures:
                        continue
                    try:
                        if peer.name not in versions:
                            versions[peer.name] = output_of(peer.version(args)).strip()
                        ms = median_ms(peer, workload, args)
                    except RuntimeError as error:
                        failures.add(key)
                        say(f"{peer.name} {workload.network} {workload.task}: {error}")
                        continue
                    times.setdefault(key, []).append(ms)
                    images = workload.batch / ms * 1e3
                    what = [workload.network, workload.task, workload.batch, args.threads]
                    who = [peer.name, versions[peer.name]]
                    table.writerow([round_ + 1, *what, *who, f"{ms:.4f}", f"{images:.1f}"])
                    file.flush()
                    say(f"round {round_ + 1}: {workload.network} {workload.task} {peer.name} {ms:.2f} ms")
    return times, failures


def print_table(workloads, peers, times):
    """Medians over the rounds, their range, and each time against the first peer that was measured."""
    for workload in workloads:
        rows = [(peer.name, times[workload, peer.name]) for peer in peers if (workload, peer.name) in times]
        if not rows:
            continue
        base, base_ms = rows[0][0], statistics.median(rows[0][1])
        print(f"\n{workload.network} {workload.task}, batch {workload.batch}")
        print(f"{'':22}{'median ms':>10}{'range':>16}{'images/s':>10}{'time / ' + base:>22}")
        for name, values in rows:
            ms = statistics.median(values)
            span = f"{min(values):.2f}-{max(values):.2f}"
            print(f"{name:22}{ms:10.2f}{span:>16}{workload.batch / ms * 1e3:10.0f}{ms / base_ms:22.2f}")


def say(message):
    print(message, file=sys.stderr, flush=True)


def chosen(names, rows, name_of, parser):
    """The rows named in a comma-separated list, in the rows' own order; all where there is no list."""
    if names is None:
        return rows
    wanted = set(names.split(","))
    unknown = wanted - {name_of(row) for row in rows}
    if unknown:
        parser.error(f"no {', '.join(sorted(unknown))}; there are {', '.join(name_of(row) for row in rows)}")
    return [row for row in rows if name_of(row) in wanted]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setup", action="store_true", help="set up the Python peers and stop")
    parser.add_argument("--striate", type=pathlib.Path, default=BENCH.parent / "target/release/striate")
    parser.add_argument("--python", type=pathlib.Path, help="an interpreter with torch, in place of setting up")
    parser.add_argument("--peers", help=f"of {','.join(peer.name for peer in PEERS)}")
    parser.add_argument("--networks", help=f"of {','.join(dict.fromkeys(w.network for w in WORKLOADS))}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a torch measurement after warm-up")
    parser.add_argument("--torch-job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch_job:
        run_torch_job(json.loads(args.torch_job))
        return 0
    if args.rounds < 1 or args.threads < 1:
        parser.error("--rounds and --threads are at least 1")

    peers = chosen(args.peers, PEERS, lambda peer: peer.name, parser)
    workloads = chosen(args.networks, WORKLOADS, lambda workload: workload.network, parser)
    if any(peer.name == "striate" for peer in peers) and not args.setup and not args.striate.exists():
        parser.error(f"{args.striate} is not there: build it with cargo build --release -p striate-cli")
    if args.setup or (args.python is None and any(peer.name != "striate" for peer in peers)):
        set_up()
    if args.setup:
        return 0
    args.python = args.python or python_of(ENVIRONMENT)

    machine = describe_machine(args)
    folder = new_folder(machine)
    (folder / "machine.json").write_text(json.dumps(machine, indent=2) + "\n")
    times, failures = measure(workloads, peers, args, folder)
    print_table(workloads, peers, times)
    print(f"\n{folder / 'results.csv'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
