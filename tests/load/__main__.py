"""Ten minutes of load on a server of this machine: `python -m tests.load --model DIR --locust PROGRAM`.

Starts the server on a folder of versions, has Locust call it, pushes a second version at 20 % of the time, copies a
third half and then wholly at 30 %, pushes a fourth at half, kills the model's process (-9) at 60 % and the whole server
at 70 %, starting that again, and reads memory all the while. It does so twice: alone, and with attackers
(`tests.load.attackers`) beside the good callers from 10 % to 85 % of the time. Prints Locust's table, every try that
had to be repeated, memory, and a verdict. Loopback only.

What counts as an error: an answer with another status than it must have; a try that was refused, cut or answered 503
outside the time in which this program had killed the whole server and not yet started it again; memory that grows, or
that attackers leave behind; a 95th percentile of the good callers that attackers more than double.

Locust comes from PyPI into an environment of its own: `uv venv DIR && uv pip install --python DIR/bin/python locust`.
"""

from __future__ import annotations

import argparse
import collections
import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import psutil

from tests.maskformer_model.serve.running_server import RunningServer, push

STATUS = "v1/models/maskformer"
RETRIES = "retries.jsonl"
# Of the last quarter of a stretch between two events over its first quarter, and of the last stretch over the first.
MEMORY_GROWTH = 1.1
P95_GROWTH = 2.0  # With attackers, over the run without.
ATTACK = 0.1, 0.85  # From and to which share of the time.
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

    def __init__(
        self,
        server: RunningServer,
        model_dir: pathlib.Path,
        serving_dir: pathlib.Path,
        seconds: float,
        attackers: int,
    ):
        super().__init__(daemon=True)
        self.server, self.model_dir, self.serving_dir, self.seconds = server, model_dir, serving_dir, seconds
        self.attackers = attackers
        self.memory: list[tuple[float, float]] = []
        self.events: list[tuple[str, float, float]] = []
        self.down: list[tuple[float, float]] = []

    def run(self) -> None:
        start_s = time.monotonic()
        todo = [
            (0.2, "push version 200", lambda: self._push(200)),
            (0.3, "copy half of version 250, then all of it", self._push_in_halves),
            (0.5, "push version 300", lambda: self._push(300)),
            (0.6, "kill -9 the model's process", self._kill_model),
            (0.7, "kill -9 the whole server and start it again", self._restart),
        ]
        if self.attackers:
            todo = [(ATTACK[0], "attackers come", self._attack), *todo, (ATTACK[1], "attackers go", lambda: None)]
        while (now_s := time.monotonic() - start_s) < self.seconds:
            if todo and now_s >= todo[0][0] * self.seconds:
                _, what, act = todo.pop(0)
                act()
                self.events.append((what, now_s, time.monotonic() - start_s))
            self.memory.append((time.monotonic() - start_s, memory_mb(self.server)))
            time.sleep(min(2.0, self.seconds / 30))

    def stretches(self) -> list[tuple[float, float]]:
        """Mean MB of the first and the last quarter of each time between two events, settling left out.

        With attackers only those before and after them: bodies that arrive take memory, within their budget.
        """
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
        return [*means[:1], *means[-1:]] if self.attackers else means

    def _push(self, version: int) -> None:
        push(self.model_dir, self.serving_dir, version)
        self.server.wait_for(lambda: self.server.metric("maskformer_model_version") == version)

    def _push_in_halves(self) -> None:
        version = self.serving_dir / "250"
        version.mkdir()
        shutil.copy(self.model_dir / "saved_model.pb", version)
        self.server.wait_for(lambda: '"250", "state": "END"' in self.server.get(STATUS).body.decode())
        shutil.copytree(self.model_dir, version, dirs_exist_ok=True)
        self.server.wait_for(lambda: self.server.metric("maskformer_model_version") == 250)

    def _attack(self) -> None:
        command = [sys.executable, "-m", "tests.load.attackers", "--port", str(self.server.port)]
        seconds = (ATTACK[1] - ATTACK[0]) * self.seconds
        subprocess.Popen([*command, "--seconds", str(seconds), "--clients", str(self.attackers)])

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


def call(
    server: RunningServer, locust: str, work: pathlib.Path, seconds: float, users: int
) -> tuple[int, dict[str, dict[str, str]]]:
    """Lets Locust call a server for so long; returns its exit status and its table by kind of request.

    Args:
        server: It is ready.
        locust: The program.
        work: A folder with `photos`; gets Locust's files.
        seconds: How long.
        users: How many callers at a time.
    """
    command = [locust, "-f", str(pathlib.Path(__file__).with_name("locustfile.py")), "--headless"]
    command += ["--host", server.address.rstrip("/"), "-u", str(users), "-r", str(users), "-t", f"{seconds:.0f}s"]
    command += ["--csv", str(work / "load"), "--only-summary", "--stop-timeout", "60"]
    (work / RETRIES).touch()
    told = {"LOAD_PHOTOS": str(work / "photos"), "LOAD_RETRIES": str(work / RETRIES)}
    done = subprocess.run(command, env={**os.environ, **told})
    with (work / "load_stats.csv").open() as file:
        return done.returncode, {row["Name"]: row for row in csv.DictReader(file)}


def run(model_dir: pathlib.Path, locust: str, seconds: float, users: int, attackers: int) -> dict:
    """Does once what the module's first lines say; returns what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        work, serving_dir = pathlib.Path(folder), pathlib.Path(folder, "serving")
        serving_dir.mkdir()
        push(model_dir, serving_dir, 100)
        write_photos(work / "photos")
        server = RunningServer(serving_dir).wait_until_ready()
        trouble = Trouble(server, model_dir, serving_dir, seconds, attackers)
        trouble.start()
        status, rows = call(server, locust, work, seconds, users)
        trouble.join()
        restarts = trouble.server.metric("maskformer_process_restarts_total")
        trouble.server.stop()
        repeated = repeated_tries(work / RETRIES, trouble.down)
    return outcome(trouble, rows, repeated) | {
        "locust_exit_status": status,
        "model_restarts_after_the_last_start": restarts,
    }


def outcome(trouble: Trouble, rows: dict[str, dict[str, str]], repeated: dict[str, dict[str, int]]) -> dict:
    """What a run gave, in figures."""
    shown = ("Request Count", "Failure Count", "50%", "95%", "Requests/s")
    stretches = trouble.stretches()
    flat = [last <= MEMORY_GROWTH * first for first, last in stretches]
    if not stretches:
        raise ValueError("`minutes` must leave time between the events. Give more.")
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
    parser.add_argument("--attackers", type=int, default=20, help="0: only the run without (default: %(default)s)")
    args = parser.parse_args()
    found = {}
    for name, attackers in {"alone": 0, "attacked": args.attackers}.items():
        if attackers or name == "alone":
            found[name] = run(args.model, args.locust, 60 * args.minutes, args.users, attackers)
    is_slow = False
    if "attacked" in found:
        alone, attacked = (float(found[name]["rows"]["one photo"]["95%"]) for name in ("alone", "attacked"))
        found["p95_of_one_photo_over_alone"] = round(attacked / alone, 2)
        is_slow = attacked > P95_GROWTH * alone
    print(json.dumps(found, indent=1))
    runs = [found[name] for name in ("alone", "attacked") if name in found]
    is_bad = any(one["errors"] or not one["memory_is_flat"] or one["locust_exit_status"] for one in runs)
    return int(is_slow or is_bad)


if __name__ == "__main__":
    sys.exit(main())
