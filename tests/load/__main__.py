"""Ten minutes of load on a server of this machine: `python -m tests.load --model DIR --locust PROGRAM`.

Starts the server on a folder of versions, has Locust call it, pushes a second version at a quarter of the time and a
third at half, kills the model's process (-9) at 60 % and the whole server at 75 %, starting that again, and reads
memory all the while. Prints Locust's table, memory before and after, and a verdict. Loopback only.

Locust comes from PyPI into an environment of its own: `uv venv DIR && uv pip install --python DIR/bin/python locust`.
"""

from __future__ import annotations

import argparse
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

MEMORY_GROWTH = 1.1  # Of the last tenth of the time over the tenth after the last start.


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
    """Version switches and kills at their times, and memory every few seconds."""

    def __init__(self, server: RunningServer, model_dir: pathlib.Path, serving_dir: pathlib.Path, seconds: float):
        super().__init__(daemon=True)
        self.server, self.model_dir, self.serving_dir, self.seconds = server, model_dir, serving_dir, seconds
        self.memory: list[tuple[float, float]] = []
        self.log: list[str] = []
        self.restarted_s = 0.0

    def run(self) -> None:
        start_s = time.monotonic()
        todo = [(0.25, self._push, 200), (0.5, self._push, 300), (0.6, self._kill_model, 0), (0.75, self._restart, 0)]
        while (now_s := time.monotonic() - start_s) < self.seconds:
            if todo and now_s >= todo[0][0] * self.seconds:
                _, act, argument = todo.pop(0)
                act(argument)
                self.log.append(f"{now_s:.0f} s: {act.__name__.strip('_')} {argument or ''}")
                self.restarted_s = time.monotonic() - start_s
            self.memory.append((now_s, memory_mb(self.server)))
            time.sleep(min(2.0, self.seconds / 30))

    def _push(self, version: int) -> None:
        push(self.model_dir, self.serving_dir, version)
        self.server.wait_for(lambda: self.server.metric("maskformer_model_version") == version)

    def _kill_model(self, _: int) -> None:
        for pid in self.server.model_pids():
            os.kill(pid, signal.SIGKILL)

    def _restart(self, _: int) -> None:
        port = self.server.port
        self.server.stop(signal.SIGKILL)
        self.server = RunningServer(self.serving_dir, port=port).wait_until_ready()


def write_photos(folder: pathlib.Path) -> None:
    """Ten JPEGs of different sizes."""
    from tests.maskformer_model.small_export import encoded, photo

    folder.mkdir()
    for number in range(10):
        height, width = 96 + 37 * (number % 5), 128 + 61 * (number % 4)
        (folder / f"{number}.jpg").write_bytes(encoded(photo(height, width, seed=number), "JPEG"))


def run(model_dir: pathlib.Path, locust: list[str], seconds: float, users: int) -> dict:
    """Everything that the module's first lines say; returns what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        work, serving_dir = pathlib.Path(folder), pathlib.Path(folder, "serving")
        serving_dir.mkdir()
        push(model_dir, serving_dir, 100)
        write_photos(work / "photos")
        server = RunningServer(serving_dir).wait_until_ready()
        trouble = Trouble(server, model_dir, serving_dir, seconds)
        command = [*locust, "-f", str(pathlib.Path(__file__).with_name("locustfile.py")), "--headless"]
        command += ["--host", server.address.rstrip("/"), "-u", str(users), "-r", str(users), "-t", f"{seconds:.0f}s"]
        command += ["--csv", str(work / "load"), "--only-summary", "--stop-timeout", "60"]
        trouble.start()
        done = subprocess.run(command, env={**os.environ, "LOAD_PHOTOS": str(work / "photos")})
        trouble.join()
        restarts = trouble.server.metric("maskformer_process_restarts_total")
        trouble.server.stop()
        with (work / "load_stats.csv").open() as file:
            rows = {row["Name"]: row for row in csv.DictReader(file)}
    settled = [mb for at_s, mb in trouble.memory if at_s > trouble.restarted_s + 0.05 * seconds]
    tenth = max(1, len(settled) // 4)
    before, after = (sum(part) / len(part) for part in (settled[:tenth], settled[-tenth:]))
    return {
        "locust_exit": done.returncode,
        "events": trouble.log,
        "rows": {
            name: {key: row[key] for key in ("Request Count", "Failure Count", "50%", "95%", "Requests/s")}
            for name, row in rows.items()
        },
        "failures": int(rows["Aggregated"]["Failure Count"]),
        "memory_mb": {
            "after_restart": round(before),
            "at_the_end": round(after),
            "most": round(max(m for _, m in trouble.memory)),
        },
        "memory_is_flat": after <= MEMORY_GROWTH * before,
        "restarts_after_the_last_start": restarts,
    }


def main() -> int:
    """Returns 0 if no request failed and memory did not grow."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=pathlib.Path, help="a SavedModel")
    parser.add_argument("--locust", default="locust", help="the program (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--users", type=int, default=6)
    args = parser.parse_args()
    outcome = run(args.model, [args.locust], 60 * args.minutes, args.users)
    print(json.dumps(outcome, indent=1))
    return int(bool(outcome["failures"] or not outcome["memory_is_flat"] or outcome["locust_exit"]))


if __name__ == "__main__":
    sys.exit(main())
