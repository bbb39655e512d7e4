"""Throughput and latency without attackers, beside those of an earlier commit's server.

    python -m tests.load.against COMMIT --model DIR --locust PROGRAM --minutes 1 --turns 2

Both servers run at once and hold the same SavedModel; `tests.load`'s callers call one of them at a time, first the
earlier one, then this one twice, then the earlier one again, and so on. Prints every turn and the ratios of the means.
Loopback only; a quiet machine gives ratios that can be believed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator

import psutil

from tests.load.__main__ import call, write_photos
from tests.maskformer_model.serve.running_server import RunningServer

PROJECT_DIR = pathlib.Path(__file__).resolve().parents[2]
WARM_UP_S = 10.0


def unpack_commit(commit: str, folder: pathlib.Path) -> pathlib.Path:
    """Writes a commit's package to a folder; returns the folder."""
    command = ["git", "archive", commit, "maskformer_model"]
    packed = subprocess.run(command, cwd=PROJECT_DIR, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@contextlib.contextmanager
def served(model_dir: pathlib.Path, code_dir: pathlib.Path) -> Iterator[RunningServer]:
    """A server that runs a folder's code."""
    environment = {**os.environ, "PYTHONPATH": str(code_dir)}
    server = RunningServer(model_dir.resolve(), "--poll_s", "5", cwd=code_dir, env=environment)
    try:
        yield server.wait_until_ready()
    finally:
        server.stop()


def cpu_seconds(server: RunningServer) -> float:
    """Of the server and its model's process, since their start."""
    processes = [psutil.Process(server.pid), *map(psutil.Process, server.model_pids())]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def figures(rows: dict[str, dict[str, str]], cpu_s: float) -> dict[str, float]:
    """What a turn gave: of all requests and of good single photos.

    Args:
        rows: Locust's table.
        cpu_s: What the server spent in the turn; unlike the rest it hardly depends on what else the machine does.

    Raises:
        ValueError: if there was none of these.
    """
    if "one photo" not in rows:
        raise ValueError("`minutes` must be enough for a photo. Give more.")
    return {
        "cpu_ms_per_request": 1000 * cpu_s / int(rows["Aggregated"]["Request Count"]),
        "requests_per_s": float(rows["Aggregated"]["Requests/s"]),
        "one_photo_p50_ms": float(rows["one photo"]["50%"]),
        "one_photo_p95_ms": float(rows["one photo"]["95%"]),
        "failed": float(rows["Aggregated"]["Failure Count"]),
    }


def compare(args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Calls both servers in turns; returns what each turn gave."""
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_photos(work / "photos")
        (work / "code").mkdir()
        codes = {"earlier": unpack_commit(args.commit, work / "code"), "now": PROJECT_DIR}
        servers = {name: stack.enter_context(served(args.model, code)) for name, code in codes.items()}
        for server in servers.values():
            call(server, args.locust, work, WARM_UP_S, args.users)
        turns: dict[str, list[dict[str, float]]] = {name: [] for name in codes}
        for number in range(args.turns):
            for name in list(codes)[:: -1 if number % 2 else 1]:
                before_s = cpu_seconds(servers[name])
                _, rows = call(servers[name], args.locust, work, 60 * args.minutes, args.users)
                turns[name].append(figures(rows, cpu_seconds(servers[name]) - before_s))
        return turns


def main() -> int:
    """Returns 0 if no request failed on this server."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.against", description=__doc__.splitlines()[0])
    parser.add_argument("commit", help="of which the server is compared with this one")
    parser.add_argument("--model", required=True, type=pathlib.Path, help="a SavedModel that both can serve")
    parser.add_argument("--locust", default="locust", help="the program (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=1, help="of a turn (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=2, help="of each server (default: %(default)s)")
    parser.add_argument("--users", type=int, default=6)
    args = parser.parse_args()
    turns = compare(args)
    mean = {
        name: {figure: statistics.mean(turn[figure] for turn in of_one) for figure in of_one[0]}
        for name, of_one in turns.items()
    }
    ratios = {
        figure: round(mean["now"][figure] / mean["earlier"][figure], 3) for figure in mean["now"] if figure != "failed"
    }
    print(json.dumps({"turns": turns, "mean": mean, "now_over_earlier": ratios}, indent=1))
    return int(mean["now"]["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
