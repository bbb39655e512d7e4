"""Keeps the model that a process loaded last, for every step and node of the process that asks for it."""

from __future__ import annotations

from apache_beam.utils import shared

from components.panoptic_predictor.serving_model import ServingModel

_SHARED = shared.Shared()


def shared_model(model_dir: str) -> ServingModel:
    """Returns the model of a folder, loaded once per process whatever the number of threads.

    Beam lets go of it when another model is asked for. The folder's files must not change: artifacts do not.

    Raises:
        ValueError: from `ServingModel`.
    """
    return _SHARED.acquire(lambda: ServingModel(model_dir), tag=model_dir)
