"""Where the seconds of `make demo` go: `python -m benchmarks.profiles.demo [--project DIR] [-- FLAGS]`.

It runs the pipeline in an empty root and prints the wall time of each node, of the training itself within the Trainer,
and of what is outside nodes: Python's start, imports, drawing the scenes. `--project` names another checkout, such as
that of an earlier commit, so that both can be compared on one machine.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from maskformer_model.config.files import HISTORY_FILE

PROJECT_DIR = pathlib.Path(__file__).resolve().parents[2]


def profile(project: pathlib.Path, flags: Sequence[str]) -> dict[str, float]:
    """Returns the seconds of each node, of what is outside nodes, and of the whole, by name.

    Raises:
        CalledProcessError: if the pipeline fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder, "root")
        start = time.monotonic()
        command = [sys.executable, "pipeline/run_local.py", "--root", str(root), *flags]
        environment = {**os.environ, "PYTHONPATH": str(project)}
        subprocess.run(command, cwd=project, env=environment, check=True, stdout=sys.stderr)
        whole = time.monotonic() - start
        summary = json.loads((root / "summary.json").read_text("utf-8"))
        history, *_ = root.rglob(f"Trainer/**/{HISTORY_FILE}")  # The run's and the model's are the same.
        training = json.loads(history.read_text("utf-8"))[-1]["seconds"]
    nodes = {name: node["seconds"] for name, node in summary["components"].items()}
    return {
        **nodes,
        "outside nodes": whole - sum(nodes.values()),
        "of it training": training,
        "whole command": whole,
        "whole command without training": whole - training,
    }


def main() -> None:
    """Prints a line for each part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiles.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--project", type=pathlib.Path, default=PROJECT_DIR, help="a checkout (default: this one)")
    parser.add_argument("flags", nargs="*", help="flags of pipeline/run_local.py, after --")
    options = parser.parse_args()
    for name, seconds in profile(options.project, options.flags).items():
        print(f"{name:32s} {seconds:7.1f} s")


if __name__ == "__main__":
    main()
