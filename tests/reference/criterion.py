"""The official losses and matcher: per layer, over lists of boolean masks and class indices, one for each image."""

from __future__ import annotations

from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional

Match = list[tuple[torch.Tensor, torch.Tensor]]  # Queries and targets of each image.


def losses(settings: dict[str, Any], outputs: dict[str, Any], masks: list[Any], labels: list[Any], padded_size):
    """Returns every weighted term, and the match of every layer (the last one is the final output)."""
    options = settings["mask_former"]
    num_layers = sum(name.endswith("pred_masks") for name in outputs)
    padded = [_pad(mask, padded_size) for mask in masks]
    terms, matches = {}, []
    for layer in range(num_layers):
        last = layer == num_layers - 1
        prefix, suffix = ("", "") if last else (f"aux_{layer}.", f"_{layer}")
        class_logits, mask_logits = outputs[f"{prefix}pred_logits"], outputs[f"{prefix}pred_masks"]
        match = match_images(settings, class_logits.detach(), mask_logits.detach(), padded, labels)
        matches.append(match)
        terms[f"loss_ce{suffix}"] = _class_loss(class_logits, labels, match, options["NO_OBJECT_WEIGHT"])
        focal, dice = _mask_losses(mask_logits, padded, match)
        terms[f"loss_mask{suffix}"] = options["MASK_WEIGHT"] * focal
        terms[f"loss_dice{suffix}"] = options["DICE_WEIGHT"] * dice
    return terms, matches


def match_images(settings: dict[str, Any], class_logits, mask_logits, masks: list[Any], labels: list[Any]) -> Match:
    """Matches queries and targets of every image at least cost, at the predictions' resolution."""
    options = settings["mask_former"]
    match = []
    for image, classes in enumerate(labels):
        logits = mask_logits[image].flatten(1)
        truth = masks[image][:, None].to(logits)
        truth = functional.interpolate(truth, size=mask_logits.shape[2:], mode="nearest").flatten(1)
        probs = logits.sigmoid()
        if_one = 0.25 * (1 - probs) ** 2 * functional.softplus(-logits)
        if_zero = 0.75 * probs**2 * functional.softplus(logits)
        focal = (if_one @ truth.T + if_zero @ (1 - truth).T) / logits.shape[1]
        dice = 1 - (2 * probs @ truth.T + 1) / (probs.sum(1)[:, None] + truth.sum(1)[None] + 1)
        cost = options["MASK_WEIGHT"] * focal + options["DICE_WEIGHT"] * dice
        cost = cost - class_logits[image].softmax(-1)[:, classes]
        query, target = linear_sum_assignment(cost.numpy())
        match.append((torch.as_tensor(query), torch.as_tensor(target)))
    return match


def _pad(masks, size):
    masks = torch.as_tensor(masks)
    return functional.pad(masks, (0, size[1] - masks.shape[2], 0, size[0] - masks.shape[1]))


def _class_loss(class_logits, labels, match: Match, no_object_weight: float):
    num_classes = class_logits.shape[2] - 1
    wanted = torch.full(class_logits.shape[:2], num_classes)
    for image, (query, target) in enumerate(match):
        wanted[image, query] = torch.as_tensor(labels[image])[target]
    weights = torch.ones(num_classes + 1, dtype=class_logits.dtype)
    weights[-1] = no_object_weight
    return functional.cross_entropy(class_logits.transpose(1, 2), wanted, weights)


def _mask_losses(mask_logits, masks: list[Any], match: Match):
    num_masks = max(1, sum(len(mask) for mask in masks))
    chosen = torch.cat([mask_logits[image, query] for image, (query, _) in enumerate(match)])
    truth = torch.cat([masks[image][target] for image, (_, target) in enumerate(match)])
    full = functional.interpolate(chosen[:, None], size=truth.shape[1:], mode="bilinear", align_corners=False)
    logits, truth = full[:, 0].flatten(1), truth.flatten(1).to(mask_logits.dtype)
    probs = logits.sigmoid()
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    right = probs * truth + (1 - probs) * (1 - truth)
    focal = (0.25 * truth + 0.75 * (1 - truth)) * (1 - right) ** 2 * cross_entropy
    dice = 1 - (2 * (probs * truth).sum(1) + 1) / (probs.sum(1) + truth.sum(1) + 1)
    return focal.mean(1).sum() / num_masks, dice.sum() / num_masks
