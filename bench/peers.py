#!/usr/bin/env python3
"""Measures Striate beside its peers on this machine: every peer in each of several interleaved rounds.

    cargo build --release -p striate-cli
    python3 bench/peers.py                                   # everything; sets up the peers on the first run
    python3 bench/peers.py --tasks train --networks lenet5 --rounds 5 --peers striate,torch-compiled
    python3 bench/peers.py --quick --precision f32           # one short round
    python3 bench/peers.py --report bench/runs/FOLDER        # the tables of a run again

Each measurement is a process of its own. README.md says how to read the results.
"""

import argparse
import csv
import datetime
import json
import pathlib
import re
import sys

from peers import report
from peers.environment import BENCH, build_rust_peers, export, machine, say, set_up
from peers.roster import PEERS, Setting
from peers.workloads import COMPARED, TOLERANCE, WORKLOADS

PAGE = BENCH.parent / "docs/performance.md"
# After a round only so many peers go on, the fastest, and of them those within so many times the best one's time.
STAYING, SLACK = 2, 1.15


def new_folder(machine):
    """An unused folder for a run of today, named after the machine."""
    kind = re.sub(r"[^a-z0-9]+", "-", f"{machine['processor']} {machine['cores']} cores".lower()).strip("-")
    stem = f"{datetime.date.today()}-{kind}"
    names = [stem, *(f"{stem}-{n}" for n in range(2, 1000))]
    folder = next(BENCH / "runs" / name for name in names if not (BENCH / "runs" / name).exists())
    folder.mkdir(parents=True)
    return folder


class Run:
    """All rounds of the workloads with the peers; each result is written as it comes."""

    def __init__(self, setting, peers, folder):
        self.setting, self.peers = setting, peers
        self.versions = {}
        # Pairs of workload and peer that are not measured any more, and those of them that failed.
        self.out, self.failed = set(), set()
        self.file = open(folder / "results.csv", "w", newline="")
        self.table = csv.writer(self.file, lineterminator="\n")
        self.table.writerow(report.COLUMNS)
        self.file.flush()

    def round(self, number, workloads):
        # The order turns from round to round, so that nobody always runs behind the same neighbour.
        turn = number % len(self.peers)
        for workload in workloads:
            times = {}
            for peer in [*self.peers[turn:], *self.peers[:turn]]:
                if peer.runs(workload) and (workload, peer) not in self.out:
                    try:
                        times[peer] = self.measure(number, workload, peer)
                    except RuntimeError as error:
                        self.out.add((workload, peer))
                        self.failed.add((workload, peer))
                        say(f"{workload} {peer.name}: {error}")
            self.out |= {(workload, peer) for peer in times if peer not in staying(workload, times)}

    def measure(self, number, workload, peer):
        if peer not in self.versions:
            self.versions[peer] = peer.version(self.setting)
        folder = self.exported(workload) if workload.task == "infer" else None
        result = peer.measure(workload, self.setting, folder)
        difference = checked(workload, result.get("logits"), folder) if folder else None
        ms = result["median_ms"]
        what = [workload.network, workload.task, workload.precision, workload.batch]
        who = [self.setting.threads, peer.name, self.versions[peer]]
        memory = [rounded(result.get(name), ".1f") for name in ("peak_rss_mib", "baseline_rss_mib")]
        speed = [rounded(ms, ".4f"), rounded(workload.batch / ms * 1e3, ".1f")]
        self.table.writerow([number + 1, *what, *who, *speed, *memory, rounded(difference, ".1e")])
        self.file.flush()
        say(f"round {number + 1}: {workload} {peer.name} {ms:.2f} ms")
        return ms

    def exported(self, workload):
        batches = {w.batch for w in WORKLOADS if (w.network, w.task) == (workload.network, "infer")}
        return export(workload.network, sorted(batches), self.setting.python)


def staying(workload, times):
    """Who is measured in the next round: Striate, the best of its rivals, and who may turn out to be."""
    ranked = sorted((peer for peer in times if peer.name != "striate"), key=times.get)
    best = next((peer for peer in ranked if peer.name in workload.goal.against), None)
    close = [peer for peer in ranked[:STAYING] if times[peer] <= SLACK * times.get(best, times[peer])]
    return {best, *close, *(peer for peer in times if peer.name == "striate")}


def checked(workload, logits, folder):
    """The largest difference of `logits` to those in float64, as a share of the largest; fails above the tolerance."""
    expected = json.loads((folder / "logits.json").read_text())
    expected = expected[: len(expected) * min(workload.batch, COMPARED) // COMPARED]
    if len(logits or []) < len(expected):
        raise RuntimeError(f"it tells {len(logits or [])} logits where {len(expected)} are compared")
    difference = max(abs(found - wanted) for found, wanted in zip(logits, expected)) / max(map(abs, expected))
    # Written so that a NaN fails.
    if not difference <= TOLERANCE[workload.precision]:
        raise RuntimeError(f"its logits differ by {difference:.1e} of the largest from those in float64")
    return difference


def rounded(number, form):
    return format(number, form) if isinstance(number, float) else ""


def chosen(names, rows, name_of, parser):
    """The rows named in a comma-separated list, in the rows' own order; all where there is no list."""
    if names is None:
        return rows
    wanted = set(names.split(","))
    known = dict.fromkeys(str(name_of(row)) for row in rows)
    unknown = wanted - set(known)
    if unknown:
        parser.error(f"no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [row for row in rows if str(name_of(row)) in wanted]


SELECTIONS = {
    "tasks": lambda workload: workload.task,
    "networks": lambda workload: workload.network,
    "precision": lambda workload: workload.precision,
    "batches": lambda workload: workload.batch,
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setup", action="store_true", help="set up the peers and stop")
    parser.add_argument("--report", type=pathlib.Path, metavar="FOLDER", help="show the tables of a run and stop")
    parser.add_argument("--publish", action="store_true", help=f"write the tables into {PAGE.name} whatever was chosen")
    parser.add_argument("--striate", type=pathlib.Path, default=BENCH.parent / "target/release/striate")
    parser.add_argument("--python", type=pathlib.Path, help="an interpreter with the peers, in place of setting up")
    parser.add_argument("--peers", help=f"of {','.join(peer.name for peer in PEERS)}")
    for name, value_of in SELECTIONS.items():
        parser.add_argument(f"--{name}", help=f"of {','.join(dict.fromkeys(str(value_of(w)) for w in WORKLOADS))}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a measurement; at least 3 steps are timed")
    parser.add_argument("--quick", action="store_true", help="one round of short measurements")
    args = parser.parse_args()
    if args.rounds < 1 or args.threads < 1:
        parser.error("--rounds and --threads are at least 1")
    if args.quick:
        args.rounds, args.seconds = 1, 0.2
    args.workloads = WORKLOADS
    for name, value_of in SELECTIONS.items():
        args.workloads = chosen(getattr(args, name), args.workloads, value_of, parser)
    everything = len(args.workloads) == len(WORKLOADS) and not (args.peers or args.quick or args.report)
    args.publish = args.publish or everything
    args.peers = chosen(args.peers, PEERS, lambda peer: peer.name, parser)
    if not (args.setup or args.report) and not args.striate.exists():
        parser.error(f"{args.striate} is not there: build it with cargo build --release -p striate-cli")
    return args


def main():
    args = arguments()
    if args.report:
        finish(args.report, args)
        return 0
    python = args.python or set_up()
    if any(peer.in_rust for peer in args.peers):
        build_rust_peers()
    if args.setup:
        return 0
    facts = machine() | {"threads": args.threads, "rounds": args.rounds, "seconds": args.seconds}
    folder = new_folder(facts)
    (folder / "machine.json").write_text(json.dumps(facts, indent=2) + "\n")
    setting = Setting(args.threads, args.seconds, python.absolute(), args.striate.absolute())
    run = Run(setting, args.peers, folder)
    try:
        for number in range(args.rounds):
            run.round(number, args.workloads)
    except KeyboardInterrupt:
        say(f"interrupted; `--report {folder}` shows what has been measured")
        return 130
    finish(folder, args)
    return 1 if run.failed else 0


def finish(folder, args):
    report.show(folder)
    if args.publish:
        report.publish(folder, PAGE)
    print(f"\n{folder / 'results.csv'}")


if __name__ == "__main__":
    sys.exit(main())
