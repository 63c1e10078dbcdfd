"""From the lines of results.csv to tables: medians over the rounds, ratios, and what falls short of its goal."""

import csv
import json
import re
import statistics
from dataclasses import dataclass, field

from .workloads import MEMORY, MEMORY_GOAL, WORKLOADS

COLUMNS = [
    *("round", "network", "task", "precision", "batch", "threads", "peer", "version"),
    *("median_ms", "images_per_s", "peak_rss_mib", "baseline_rss_mib", "difference"),
]
SECTIONS = {
    ("infer", "f32"): "Inference, float32",
    ("infer", "bf16"): "Inference, bfloat16",
    ("train", "f32"): "Training, float32",
    ("train", "bf16"): "Training, bfloat16",
}


@dataclass
class Measured:
    """What the rounds of one peer on one workload gave."""

    ms: list = field(default_factory=list)
    peak_rss_mib: list = field(default_factory=list)
    baseline_rss_mib: list = field(default_factory=list)


def read(folder):
    """{(network, task, precision, batch): {peer: Measured}}, in the order in which the file has them."""
    results = {}
    with open(folder / "results.csv", newline="") as file:
        for line in csv.DictReader(file):
            key = line["network"], line["task"], line["precision"], int(line["batch"])
            measured = results.setdefault(key, {}).setdefault(line["peer"], Measured())
            measured.ms.append(float(line["median_ms"]))
            for column in ("peak_rss_mib", "baseline_rss_mib"):
                if line[column]:
                    getattr(measured, column).append(float(line[column]))
    return results


def tables(folder):
    """{name: lines of Markdown} for each section that has results, memory and the machine."""
    results = read(folder)
    made = {f"{task} {precision}": times(results, task, precision) for task, precision in SECTIONS}
    made["memory"] = memory(results.get(MEMORY, {}))
    made["machine"] = described(json.loads((folder / "machine.json").read_text()))
    return {name: lines for name, lines in made.items() if lines}


def times(results, task, precision):
    rows = [w for w in WORKLOADS if (w.task, w.precision) == (task, precision) and key_of(w) in results]
    if not rows:
        return []
    lines = [
        "| network | batch | Striate ms | best peer ms | ratio | at least / aim | | others ms |",
        "|---|---:|---:|---|---:|---|---|---|",
    ]
    return lines + [row(w, results[key_of(w)]) for w in rows]


def key_of(workload):
    return workload.network, workload.task, workload.precision, workload.batch


def row(workload, by_peer):
    goal = workload.goal
    ms = {peer: statistics.median(measured.ms) for peer, measured in by_peer.items()}
    ours = ms.pop("striate", None)
    # The best in every round: who was measured in fewer of them was too slow to go on.
    rivals = [peer for peer in ms if peer in goal.against]
    best = min(rivals, key=lambda peer: (-len(by_peer[peer].ms), ms[peer]), default=None)
    others = ", ".join(f"{peer} {short(ms[peer])}" for peer in sorted(ms, key=ms.get) if peer != best)
    ratio = ms[best] / ours if best and ours else None
    cells = [
        workload.network,
        str(workload.batch),
        short(ours) if ours else "–",
        f"{best} {short(ms[best])}" if best else "–",
        f"**{ratio:.2f}**" if ratio else "–",
        f"{goal.least} / {goal.aim}",
        verdict(ratio, goal.least, goal.aim) if ratio else "not measured",
        others,
    ]
    return f"| {' | '.join(cells)} |"


def verdict(ratio, least, aim):
    """Where a ratio stands; it is to be high where `aim` is above `least`, else low."""
    sign = 1 if aim >= least else -1
    if sign * ratio >= sign * aim:
        return "aim met"
    return "met" if sign * ratio >= sign * least else "**short**"


def memory(by_peer):
    """The most resident memory of each process, and what it had before there was a network."""
    peaks = {peer: m for peer, m in by_peer.items() if m.peak_rss_mib}
    if not peaks:
        return []
    peak = {peer: statistics.median(m.peak_rss_mib) for peer, m in peaks.items()}
    least = min((peer for peer in peak if peer in MEMORY_GOAL.against), key=peak.get, default=None)
    before = {peer: statistics.median(m.baseline_rss_mib or [0]) for peer, m in peaks.items()}
    columns = "peak MiB", "before the network MiB", "share of PyTorch's least", "without what was before"
    lines = [f"| | {' | '.join(columns)} | at most / aim | |", "|---|---:|---:|---:|---:|---|---|"]
    for peer in sorted(peak, key=peak.get):
        cells = [peer, f"{peak[peer]:.0f}", f"{before[peer]:.0f}" if before[peer] else "", *[""] * 4]
        if peer == "striate" and least:
            share = peak[peer] / peak[least]
            alone = peak[peer] / (peak[least] - before[least])
            goal = MEMORY_GOAL
            where = verdict(share, goal.least, goal.aim)
            cells[3:] = [f"**{share:.2f}**", f"{alone:.2f}", f"{goal.least} / {goal.aim}", where]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def described(machine):
    return [*("| | |", "|---|---|"), *(f"| {key} | {value} |" for key, value in machine.items())]


def short(ms):
    """Three digits, and all before the point."""
    decimals = next(decimals for decimals, below in enumerate((float("inf"), 100, 10, 1)[::-1]) if ms < below)
    return f"{ms:.{3 - decimals}f}"


def show(folder):
    """Prints the tables."""
    titles = {f"{task} {precision}": title for (task, precision), title in SECTIONS.items()}
    for name, lines in tables(folder).items():
        print(f"\n{titles.get(name, name.capitalize())}\n")
        print("\n".join(lines))


def publish(folder, page):
    """Replaces the tables on the page that stand between `<!-- table: NAME -->` and `<!-- /table -->`."""
    made = tables(folder)

    def replaced(match):
        lines = made.get(match["name"])
        return match[0] if lines is None else "\n".join([match["begin"], "", *lines, "", match["end"]])

    pattern = r"(?P<begin><!-- table: (?P<name>[^>]*?) -->).*?(?P<end><!-- /table -->)"
    page.write_text(re.sub(pattern, replaced, page.read_text(), flags=re.S))
