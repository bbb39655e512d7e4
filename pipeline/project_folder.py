"""Where the project's files are: a checkout, or the folder that a wheel has installed. Imports nothing of ours."""

from __future__ import annotations

import os
import pathlib

PROJECT_DIR = pathlib.Path(__file__).resolve().parent.parent


def setup_file() -> pathlib.Path | None:
    """Returns the file by which the project is packed; None where a wheel was installed."""
    path = PROJECT_DIR / "setup.py"
    return path if path.is_file() else None


def default_root() -> str:
    """Returns the folder for what runs write: `runs` in the checkout, or here where a wheel was installed."""
    return os.path.join(PROJECT_DIR if setup_file() else os.getcwd(), "runs")
