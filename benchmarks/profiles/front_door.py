"""Measures what stands before the first result: `python -m benchmarks.profiles.front_door [--environment]`.

It prints the time of every command's `--help` and of importing the package, the best of some tries, and the size of the
wheel. With `--environment` it also installs the wheel with the extra `serve` into a new environment, which takes some
minutes and the network, and prints that environment's size.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from maskformer_model.command_line import COMMANDS, GROUPS

PROJECT_DIR = pathlib.Path(__file__).resolve().parents[2]
TRIES = 3
_SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "maskformer_model", "components", "pipeline")


def seconds_of(arguments: Sequence[str]) -> float:
    """Returns the shortest time of some runs of Python with these arguments."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_DIR)}
    times = []
    for _ in range(TRIES):
        start = time.monotonic()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)
        times.append(time.monotonic() - start)
    return min(times)


def build_wheel(folder: str) -> pathlib.Path:
    """Builds the wheel from a copy of the sources, so that nothing is left in the checkout."""
    source = pathlib.Path(folder, "source")
    source.mkdir()
    for name in _SOURCES:
        path = PROJECT_DIR / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, str(source)], check=True)
    return next(pathlib.Path(folder).glob("*.whl"))


def size_mb(folder: pathlib.Path) -> float:
    """Returns the size of all files in a folder, links left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files) / 1e6


def install(wheel: pathlib.Path, folder: str) -> tuple[float, float]:
    """Installs the wheel with the extra `serve` into a new environment; returns its size in MB and the seconds."""
    environment = pathlib.Path(folder, "environment")
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", f"{wheel}[serve]"], check=True)
    seconds = time.monotonic() - start
    program = "from maskformer_model.serve import app"
    subprocess.run([str(python), "-c", program], check=True, cwd=folder)
    return size_mb(environment), seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profiles.front_door", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--environment", action="store_true", help="install the wheel for serving and measure that")
    args = parser.parse_args(argv)
    print(f"{'python -c pass':36s} {seconds_of(['-c', 'pass']):6.2f} s")
    print(f"{'import maskformer_model':36s} {seconds_of(['-c', 'import maskformer_model']):6.2f} s")
    for name in ("", *COMMANDS, *GROUPS):
        label = f"maskformer {name} --help".replace("  ", " ")
        print(f"{label:36s} {seconds_of(['-m', 'maskformer_model', *name.split(), '--help']):6.2f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(folder)
        print(f"{'wheel':36s} {wheel.stat().st_size / 1e6:6.2f} MB", flush=True)
        if args.environment:
            megabytes, seconds = install(wheel, folder)
            print(f"{'environment of the extra serve':36s} {megabytes:6.0f} MB, installed in {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
