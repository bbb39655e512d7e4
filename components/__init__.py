"""TFX components of the pipeline: a component is a typed contract, an executor the work. Import the modules by name."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Finds an artifact type by the title that a compiled pipeline gives it: `components.PanopticPredictions`."""
    if name == "PanopticPredictions":
        from components.panoptic_predictor.artifacts import PanopticPredictions

        return PanopticPredictions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
