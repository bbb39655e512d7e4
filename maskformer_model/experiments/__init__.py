"""One file per experiment, each readable as a table; `get` finds them by name.

A module in a folder of this package is an experiment: it has a function `experiment()` that returns an
`ExperimentConfig`, and its name is the module's. What several of them share is in `recipes.py`.
"""

from __future__ import annotations

import importlib
import pkgutil

from maskformer_model.config import ExperimentConfig


def names() -> list[str]:
    """Returns all experiments, sorted."""
    return sorted(_modules())


def get(name: str) -> ExperimentConfig:
    """Returns the experiment of that name.

    Raises:
        KeyError: if there is none, naming those that there are.
    """
    modules = _modules()
    if name not in modules:
        raise KeyError(f"Unknown experiment {name!r}. Known: {', '.join(sorted(modules))}")
    return importlib.import_module(modules[name]).experiment()


def _modules() -> dict[str, str]:
    """Returns the dotted name of every experiment's module, by the experiment's name."""
    found = pkgutil.walk_packages(__path__, f"{__name__}.")
    in_folders = [
        module.name for module in found if not module.ispkg and module.name.count(".") > __name__.count(".") + 1
    ]
    return {name.rpartition(".")[2]: name for name in in_folders}
