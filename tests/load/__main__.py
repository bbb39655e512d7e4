"""Ten minutes of load on a server of this machine: `python -m tests.load --model DIR --locust PROGRAM`.

Starts the server on a folder of versions, has Locust call it, pushes a second version at a quarter of the time and a
third at half, kills the model's process (-9) at 60 % and the whole server at 75 %, starting that again, and reads
memory all the while. Prints Locust's table, every try that had to be repeated, memory, and a verdict. Loopback only.

What counts as an error: an answer with another status than it must have; a try that was refused, cut or answered 503
outside the time in which this program had killed the whole server and not yet started it again; memory that grows.

Locust comes from PyPI into an environment of its own: `uv venv DIR && uv pip install --python DIR/bin/python locust`.
"""

from __future__ import annotations

import argparse
import collections
import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

import psutil

from tests.maskformer_model.serve.running_server import RunningServer, push

# Of the last quarter of a stretch between two events over its first quarter, and of the last stretch over the first.
MEMORY_GROWTH = 1.1
SETTLING_SHARE = 0.05  # Of the whole time, after an event, while memory may do as it likes.


def memory_mb(server: RunningServer) -> float:
    """Resident memory of the server and what it started."""
    total = 0
    for process in [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 1e6


class Trouble(threading.Thread):
    """Version switches and kills at their times, and memory every few seconds.

    Attributes:
        memory: Seconds since the start, and MB.
        events: What was done when, from and to which second.
        down: From and to which time (as `time.time`) the whole server was dead or not ready.
    """

    def __init__(self, server: RunningServer, model_dir: pathlib.Path, serving_dir: pathlib.Path, seconds: float):
        super().__init__(daemon=True)
        self.server, self.model_dir, self.serving_dir, self.seconds = server, model_dir, serving_dir, seconds
        self.memory: list[tuple[float, float]] = []
        self.events: list[tuple[str, float, float]] = []
        self.down: list[tuple[float, float]] = []

    def run(self) -> None:
        start_s = time.monotonic()
        todo = [
            (0.25, "push version 200", lambda: self._push(200)),
            (0.5, "push version 300", lambda: self._push(300)),
            (0.6, "kill -9 the model's process", self._kill_model),
            (0.75, "kill -9 the whole server and start it again", self._restart),
        ]
        while (now_s := time.monotonic() - start_s) < self.seconds:
            if todo and now_s >= todo[0][0] * self.seconds:
                _, what, act = todo.pop(0)
                act()
                self.events.append((what, now_s, time.monotonic() - start_s))
            self.memory.append((time.monotonic() - start_s, memory_mb(self.server)))
            time.sleep(min(2.0, self.seconds / 30))

    def stretches(self) -> list[tuple[float, float]]:
        """Mean MB of the first and the last quarter of each time between two events, settling left out."""
        settling_s = SETTLING_SHARE * self.seconds
        edges = [0.0, *(end for _, _, end in self.events)]
        ends = [*(start for _, start, _ in self.events), self.seconds]
        means = []
        for begin, end in zip(edges, ends, strict=True):
            settled = [mb for at_s, mb in self.memory if begin + settling_s < at_s < end]
            quarter = len(settled) // 4
            if quarter:
                first, last = settled[:quarter], settled[-quarter:]
                means.append((sum(first) / quarter, sum(last) / quarter))
        return means

    def _push(self, version: int) -> None:
        push(self.model_dir, self.serving_dir, version)
        self.server.wait_for(lambda: self.server.metric("maskformer_model_version") == version)

    def _kill_model(self) -> None:
        for pid in self.server.model_pids():
            os.kill(pid, signal.SIGKILL)
        # Only a loaded model knows that these bytes are no photo.
        self.server.wait_for(lambda: self.server.predict(b"").status == 400)

    def _restart(self) -> None:
        port, killed = self.server.port, time.time()
        self.server.stop(signal.SIGKILL)
        self.server = RunningServer(self.serving_dir, port=port).wait_until_ready()
        self.down.append((killed, time.time()))


def write_photos(folder: pathlib.Path) -> None:
    """Ten JPEGs of different sizes."""
    from tests.maskformer_model.helpers.small_export import encoded, photo

    folder.mkdir()
    for number in range(10):
        height, width = 96 + 37 * (number % 5), 128 + 61 * (number % 4)
        (folder / f"{number}.jpg").write_bytes(encoded(photo(height, width, seed=number), "JPEG"))


def repeated_tries(path: pathlib.Path, down: list[tuple[float, float]]) -> dict[str, dict[str, int]]:
    """How often which request had to be sent again and why, while the server was down and otherwise."""
    counts: dict[str, collections.Counter] = {"while_down": collections.Counter(), "otherwise": collections.Counter()}
    for line in path.read_text().splitlines():
        one = json.loads(line)
        is_excused = any(one["began"] <= end and start <= one["ended"] for start, end in down)
        counts["while_down" if is_excused else "otherwise"][f"{one['request']}: {one['reason']}"] += 1
    return {when: dict(sorted(found.items())) for when, found in counts.items()}


def run(model_dir: pathlib.Path, locust: list[str], seconds: float, users: int) -> dict:
    """Everything that the module's first lines say; returns what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        work, serving_dir = pathlib.Path(folder), pathlib.Path(folder, "serving")
        serving_dir.mkdir()
        push(model_dir, serving_dir, 100)
        write_photos(work / "photos")
        retries = work / "retries.jsonl"
        retries.touch()
        server = RunningServer(serving_dir).wait_until_ready()
        trouble = Trouble(server, model_dir, serving_dir, seconds)
        command = [*locust, "-f", str(pathlib.Path(__file__).with_name("locustfile.py")), "--headless"]
        command += ["--host", server.address.rstrip("/"), "-u", str(users), "-r", str(users), "-t", f"{seconds:.0f}s"]
        command += ["--csv", str(work / "load"), "--only-summary", "--stop-timeout", "60"]
        told = {"LOAD_PHOTOS": str(work / "photos"), "LOAD_RETRIES": str(retries)}
        trouble.start()
        done = subprocess.run(command, env={**os.environ, **told})
        trouble.join()
        restarts = trouble.server.metric("maskformer_process_restarts_total")
        trouble.server.stop()
        with (work / "load_stats.csv").open() as file:
            rows = {row["Name"]: row for row in csv.DictReader(file)}
        repeated = repeated_tries(retries, trouble.down)
    return outcome(trouble, rows, repeated) | {
        "locust_exit_status": done.returncode,
        "model_restarts_after_the_last_start": restarts,
    }


def outcome(trouble: Trouble, rows: dict[str, dict[str, str]], repeated: dict[str, dict[str, int]]) -> dict:
    """What a run gave, in figures."""
    shown = ("Request Count", "Failure Count", "50%", "95%", "Requests/s")
    stretches = trouble.stretches()
    flat = [last <= MEMORY_GROWTH * first for first, last in stretches]
    flat.append(stretches[-1][1] <= MEMORY_GROWTH * stretches[0][1])
    return {
        "events": [f"{start:.0f} to {end:.0f} s: {what}" for what, start, end in trouble.events],
        "rows": {name: {key: row[key] for key in shown} for name, row in rows.items()},
        "asked_again": repeated,
        "errors": int(rows["Aggregated"]["Failure Count"]) + sum(repeated["otherwise"].values()),
        "memory_mb_between_events": [f"{first:.0f} to {last:.0f}" for first, last in stretches],
        "memory_mb_most": round(max(mb for _, mb in trouble.memory)),
        "memory_is_flat": all(flat),
    }


def main() -> int:
    """Returns 0 if there was no error and memory did not grow."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=pathlib.Path, help="a SavedModel")
    parser.add_argument("--locust", default="locust", help="the program (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--users", type=int, default=6)
    args = parser.parse_args()
    found = run(args.model, [args.locust], 60 * args.minutes, args.users)
    print(json.dumps(found, indent=1))
    return int(bool(found["errors"] or not found["memory_is_flat"] or found["locust_exit_status"]))


if __name__ == "__main__":
    sys.exit(main())
