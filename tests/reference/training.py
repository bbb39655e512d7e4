"""The official training step: gradients, clip by the global norm, AdamW with the official groups."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from tests.reference.criterion import Match, losses
from tests.reference.layers import State
from tests.reference.network import forward, normalize

BUFFERS = ("running_mean", "running_var")


@dataclasses.dataclass
class Trajectory:
    """What a golden folder holds: forward pass, matches and gradients at step 0, losses at all steps, final weights."""

    outputs: dict[str, np.ndarray]
    matches: list[Match]
    gradients: dict[str, np.ndarray]
    steps: list[dict[str, float]]
    final: dict[str, np.ndarray]
    groups: dict[str, list[float]]


def train(
    settings: dict[str, Any], weights: dict[str, Any], inputs: dict[str, Any], num_steps: int, dtype
) -> Trajectory:
    """Trains on one batch (`inputs.npz`) and records."""
    state, trained = _state(weights, dtype)
    images, masks, labels = _batch(settings, inputs, dtype)
    solver = settings["solver"]
    groups = {name: _group(name, weights, solver) for name in trained}
    optimizer = torch.optim.AdamW(
        [{"params": [trained[name]], "lr": rate, "weight_decay": decay} for name, (rate, decay) in groups.items()]
    )
    found: list[Any] = []
    for _ in range(num_steps):
        optimizer.zero_grad()
        outputs = forward(settings, state, images)
        terms, matches = losses(settings, outputs, masks, labels, images.shape[2:])
        total = sum(terms.values())
        total.backward()
        gradients = {
            name: (torch.zeros_like(value) if value.grad is None else value.grad) for name, value in trained.items()
        }
        norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
        if not found:
            arrays = {name: value.detach().numpy() for name, value in outputs.items()}
            found = [arrays, matches, {name: gradient.clone().numpy() for name, gradient in gradients.items()}, []]
        found[3].append({name: float(value.detach()) for name, value in terms.items()})
        found[3][-1] |= {"total": float(total.detach()), "grad_norm": float(norm)}
        if solver["clip_global_norm"]:
            torch.nn.utils.clip_grad_norm_(list(trained.values()), solver["clip_global_norm"])
        optimizer.step()
    return Trajectory(*found, final={name: value.detach().numpy() for name, value in trained.items()}, groups=groups)


def _state(weights: dict[str, Any], dtype) -> tuple[State, State]:
    state = {name: torch.tensor(value, dtype=dtype) for name, value in weights.items()}
    trained = {}
    for name, value in state.items():
        is_frozen_norm = name.rpartition(".")[0] + ".running_mean" in state
        if not is_frozen_norm and not name.endswith(BUFFERS):
            trained[name] = value.requires_grad_()
    return state, trained


def _batch(settings: dict[str, Any], inputs: dict[str, Any], dtype) -> tuple[torch.Tensor, list[Any], list[Any]]:
    num_images = sum(name.startswith("image_") for name in inputs)
    photos = [inputs[f"image_{index}"] for index in range(num_images)]
    images = normalize(photos, settings["mask_former"]["SIZE_DIVISIBILITY"], dtype)
    masks = [torch.as_tensor(inputs[f"masks_{index}"]) for index in range(num_images)]
    return images, masks, [torch.as_tensor(inputs[f"labels_{index}"]).long() for index in range(num_images)]


def _group(name: str, weights: dict[str, Any], solver: dict[str, Any]) -> list[float]:
    """Backbones learn at a share of the rate; norms and embeddings do not decay."""
    rate = solver["base_lr"] * (solver["backbone_multiplier"] if name.startswith("backbone.") else 1.0)
    owner = name.rpartition(".")[0].rpartition(".")[2]
    undecayed = owner.startswith("norm") or owner == "query_embed"
    return [rate, 0.0 if undecayed else solver["weight_decay"]]
