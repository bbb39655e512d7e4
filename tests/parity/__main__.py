"""Compares a model with the official code's numbers: `python -m tests.parity FOLDER ... [--float64]`.

A folder has the golden model layout (`golden_folder.py`). The whole path is ours: normalisation, network, matcher,
losses, gradients, optimizer. `--float64` computes ours in float64, for models whose rounding hides what is compared.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys


def main(arguments: list[str] | None = None) -> int:
    """Prints one row per quantity; returns 0 if every row of every folder passes."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=pathlib.Path, nargs="+", help="folders in the golden model layout")
    parser.add_argument("--float64", action="store_true", help="compute ours in float64")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # The rows are the output, not TensorFlow's greetings.
    from tests.parity.comparison import compare_folder  # Late, so that `--help` answers at once.
    from tests.parity.golden_folder import GoldenFolder

    try:
        folders = [GoldenFolder(path) for path in options.folders]
    except FileNotFoundError as error:
        parser.error(str(error))
    failed = 0
    for folder in folders:
        print(f"{folder.path}")
        failed += _print_rows(compare_folder(folder, float64=options.float64))
    return int(failed > 0)


def _print_rows(rows) -> int:
    print(f"{'quantity':<34} {'difference':>10} {'bar':>8}  result")
    for row in rows:
        verdict = "pass" if row.passed else "FAIL"
        print(f"{row.quantity:<34} {row.difference:10.1e} {row.bar:8.0e}  {verdict}  {row.note}".rstrip())
    failed = sum(not row.passed for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} quantities pass")
    return failed


if __name__ == "__main__":
    sys.exit(main())
