"""Says which extra of the package is missing. Imports nothing that an extra brings.

An extra is recognised by modules that only it brings; a module that other packages bring too proves nothing.
"""

from __future__ import annotations

import importlib.util

MODULES_OF_EXTRAS = {
    "completion": ("argcomplete",),
    "pipeline": ("apache_beam", "ijson", "simplejpeg", "tfx"),
    "serve": ("aiohttp",),
    "trackers": ("mlflow", "wandb"),
}


def missing_modules(extra: str) -> list[str]:
    """Returns the modules of an extra that are not installed."""
    return [name for name in MODULES_OF_EXTRAS[extra] if importlib.util.find_spec(name) is None]


def advice(extra: str, missing: list[str]) -> str:
    """Returns the sentence that says what to install."""
    where = " (Python 3.11 only; see CONTRIBUTING.md for older systems)" if extra == "pipeline" else ""
    # The project is in no registry, so a name is not enough.
    return (
        f"{', '.join(missing)} not found. Install the extra `{extra}`{where}, in the project's folder: "
        f"pip install '.[{extra}]'"
    )


def require(extra: str) -> None:
    """Refuses to go on without an extra.

    Raises:
        ModuleNotFoundError: with the sentence that says what to install.
    """
    if missing := missing_modules(extra):
        raise ModuleNotFoundError(advice(extra, missing), name=missing[0])
