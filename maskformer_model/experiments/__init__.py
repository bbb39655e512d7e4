"""One file per experiment, each readable as a table; `get` finds them by name.

A module of this package is an experiment if it has a function `experiment()` that returns an `ExperimentConfig`; its
name is the module's.
"""

from __future__ import annotations

import importlib
import pkgutil

from maskformer_model.config import ExperimentConfig


def names() -> list[str]:
    """All experiments, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> ExperimentConfig:
    """The experiment of that name.

    Raises:
        KeyError: if there is none, naming those that there are.
    """
    if name not in names():
        raise KeyError(f"Unknown experiment {name!r}. Known: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}").experiment()
