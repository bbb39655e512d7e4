"""Which module measures the model of a golden folder; a further family of models is one more line here."""

from __future__ import annotations

import importlib
from typing import Any

from tests.parity.golden_folder import GoldenFolder
from tests.parity.measurement import Measurement

# Family -> module with `measure(folder, float64, nudge)` and `matching_costs(folder)`.
FAMILIES = {
    "MaskFormer": "tests.parity.maskformer_family",
    "Mask2Former": "tests.parity.mask2former_family",
    "EoMT": "tests.parity.eomt_family",
}


def family_of(folder: GoldenFolder) -> Any:
    """Returns the module of the folder's family, which `meta_architecture` names, or else its configuration shows.

    Raises:
        ValueError: if the family is not known.
    """
    settings = folder.settings
    name = settings.get("meta_architecture")
    if name is None and "NUM_OBJECT_QUERIES" in settings.get("mask_former", {}):
        name = "Mask2Former" if "TRAIN_NUM_POINTS" in settings["mask_former"] else "MaskFormer"
    if name is None and "num_q" in settings.get("network", {}):
        name = "EoMT"
    if name not in FAMILIES:
        raise ValueError(f"golden.json must be of one of {sorted(FAMILIES)}. Received: {name} in {folder.path}")
    return importlib.import_module(FAMILIES[name])


def measure(folder: GoldenFolder, *, float64: bool = False, nudge: int = 0) -> Measurement:
    """Builds, runs and trains the folder's model with our code; `nudge` is the seed of `nudged`."""
    return family_of(folder).measure(folder, float64=float64, nudge=nudge)
