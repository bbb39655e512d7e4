"""Runs every measurement in a process of its own, two threads each, and prints one table: `python -m benchmarks`.

A module of a folder in `ROOMS` with a function `measure() -> Iterable[Row]` is a measurement. It gets a process of its
own so that frameworks neither share threads nor memory, and peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from benchmarks.row import Row

THREADS = {"OMP_NUM_THREADS": "2", "TF_NUM_INTRAOP_THREADS": "2", "TF_NUM_INTEROP_THREADS": "2"}
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "GRPC_VERBOSITY": "ERROR"}
ROOMS = ("", "training/")
NOT_MEASUREMENTS = ("__init__", "__main__", "row", "exports", "learning_curve")  # The last two need a trained model.


def measurements() -> dict[str, str]:
    """Returns the module of every measurement, by file name."""
    here = pathlib.Path(__file__).parent
    paths = sorted((path for room in ROOMS for path in here.glob(f"{room}*.py")), key=lambda path: path.stem)
    modules = {path.stem: ".".join(("benchmarks", *path.relative_to(here).with_suffix("").parts)) for path in paths}
    return {name: module for name, module in modules.items() if name not in NOT_MEASUREMENTS}


def run(name: str) -> list[Row] | int:
    """Returns the rows of one measurement, or its exit code where it failed."""
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder) / "rows.json"
        command = [sys.executable, "-m", measurements()[name], "--output", str(output)]
        code = subprocess.run(command, env={**os.environ, **THREADS, **QUIET}, stdout=subprocess.DEVNULL).returncode
        return [Row(**row) for row in json.loads(output.read_text(encoding="utf-8"))] if code == 0 else code


def main() -> int:
    """Returns 1 if a bar was missed or a measurement failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*measurements(), []], help="measurements; all where none is named")
    names = parser.parse_args().names or list(measurements())

    from rich.console import Console
    from rich.table import Table

    table = Table(title="Ours against a peer, in this run")
    for heading in ("what", "ours", "peer", "ratio", "bar", ""):
        table.add_column(heading, overflow="fold")
    failed = False
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        rows = run(name)
        if isinstance(rows, int):
            failed = True
            table.add_row(name, "", "", "", "", f"failed: exit code {rows}")
            continue
        for row in rows:
            failed = failed or row.passed is False
            table.add_row(*cells(row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return int(failed)


def cells(row: Row) -> tuple[str, ...]:
    """Returns a row of the table, as text."""
    peer = "" if row.peer is None else f"{row.peer:.4g} {row.unit} ({row.peer_name})"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    verdict = {True: "reached", False: "MISSED", None: ""}[row.passed]
    return row.name, f"{row.ours:.4g} {row.unit}", peer, ratio, row.bar, "; ".join(filter(None, (verdict, row.remark)))


if __name__ == "__main__":
    sys.exit(main())
