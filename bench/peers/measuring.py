"""What the measuring processes of the Python peers share: the job in, the clock, the result out."""

import json
import pathlib
import statistics
import sys
import time
from dataclasses import dataclass

WARM_UP_STEPS = 1
LEAST_STEPS = 3


@dataclass(frozen=True)
class Job:
    """What to measure: a workload, how (a peer's own words), and where the exported network lies."""

    network: str
    task: str
    precision: str
    batch: int
    mode: str
    threads: int
    seconds: float
    folder: str
    compared: int

    def file(self, name):
        return pathlib.Path(self.folder) / name

    def images(self):
        """The images that all peers get, (N, C, H, W)."""
        import numpy

        return numpy.load(self.file(f"x{self.batch}.npy"))


def peak_rss_mib():
    """The most resident memory of this process so far; `None` where the system does not tell."""
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def repeat(step, least, seconds):
    """The times in seconds of at least so many steps, in at least so many seconds."""
    times = []
    begin = time.perf_counter()
    while len(times) < least or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def timed(step, job):
    """The median time of `step` in ms, and how many were timed."""
    repeat(step, WARM_UP_STEPS, job.seconds / 10)
    times = repeat(step, LEAST_STEPS, job.seconds)
    return {"median_ms": statistics.median(times) * 1e3, "steps": len(times)}


def serve(prepare):
    """Runs the job in the last argument: `prepare` returns a step that has run once and, for inference, its logits."""
    job = Job(**json.loads(sys.argv[-1]))
    baseline = peak_rss_mib()
    step, logits = prepare(job)
    result = timed(step, job) | {"baseline_rss_mib": baseline, "peak_rss_mib": peak_rss_mib()}
    if logits is not None:
        result["logits"] = logits[: job.compared].flatten().tolist()
    print(json.dumps(result))
