"""Compares the rounding of a step: ours and PyTorch's in float32, each against ours in float64.

`python -m tests.parity.rounding FOLDER ...` prints, for each golden folder, the errors of the forward pass's tensors as
shares of their norms, and those of every parameter's gradient at step 0: the global one, the median, and the worst;
and the relative error of the norm of all gradients.
PyTorch's float32 numbers are the folder's own where the official code computed it in float32, or else those of
`tests/reference`.

Where a sum falls on the other side of a ReLU, a few pixels' gradients come or go as a whole, so one step is one draw.
`--nudges N` repeats both sides N times from weights that are off by one unit in their last place, and prints the
smallest, the median and the largest errors.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import sys

import numpy as np

from tests.parity.golden_folder import GoldenFolder
from tests.parity.measurement import Arrays


@dataclasses.dataclass(frozen=True)
class Rounding:
    """Errors of a model's step.

    Attributes:
        outputs: Both errors of each tensor of the forward pass, as a share of its norm.
        names: The parameters whose gradient is more than rounding error.
        ours: Our float32 gradient's error, as a share of the gradient's norm.
        theirs: PyTorch's.
        global_error: Both errors of all parameters together, as a share of the global norm.
        norm_error: Both relative errors of the global norm, which is what clipping reads.
    """

    outputs: dict[str, tuple[float, float]]
    names: list[str]
    ours: np.ndarray
    theirs: np.ndarray
    global_error: tuple[float, float]
    norm_error: tuple[float, float]


def main(arguments: list[str] | None = None) -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity.rounding", description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=pathlib.Path, nargs="+", help="folders in the golden model layout")
    parser.add_argument("--nudges", type=int, default=0, metavar="N", help="steps from neighbouring weights as well")
    parser.add_argument("--worst", type=int, default=10, metavar="N", help="parameters to list (default: %(default)s)")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for path in options.folders:
        folder = GoldenFolder(path)
        exact = _our_step(folder, "float64")
        roundings = [measure(folder, exact, nudge) for nudge in range(options.nudges + 1)]
        print_rounding(path, roundings[0], options.worst)
        if options.nudges:
            print_spread(roundings)
    return 0


def measure(folder: GoldenFolder, exact: _Step, nudge: int = 0) -> Rounding:
    """Compares a folder's first step on both sides, from nudged weights, with `exact`, from its own in float64."""
    from tests.parity.gradient_rows import judged_names
    from tests.parity.measurement import split_parts
    from tests.parity.rows import FLOAT32

    ours, theirs = _our_step(folder, "float32", nudge), _their_step(folder, nudge)
    outputs = {
        name: (_share(ours.outputs[name], value), _share(theirs.outputs[name], value))
        for name, value in exact.outputs.items()
        if name in theirs.outputs
    }
    true, found, official = (split_parts(step.gradients, exact.parts) for step in (exact, ours, theirs))
    norms = {name: float(np.linalg.norm(value)) for name, value in true.items()}
    judged = judged_names(norms, FLOAT32)
    names = [name for name in norms if name in judged]
    shares = [np.array([_share(step[name], true[name]) for name in names]) for step in (found, official)]
    sizes = np.array([norms[name] for name in names])
    ours_all, theirs_all = (float(np.linalg.norm(share * sizes) / np.linalg.norm(sizes)) for share in shares)
    total = _global_norm(true)
    our_norm, their_norm = (abs(_global_norm(step) - total) / total for step in (found, official))
    return Rounding(outputs, names, *shares, (ours_all, theirs_all), (our_norm, their_norm))


@dataclasses.dataclass(frozen=True)
class _Step:
    outputs: Arrays
    gradients: Arrays
    parts: dict[str, int]


def _share(value: np.ndarray, exact: np.ndarray) -> float:
    """Returns the error as a share of the exact array's norm."""
    return float(np.linalg.norm(value.astype(np.float64) - exact) / np.linalg.norm(exact))


def _global_norm(gradients: Arrays) -> float:
    return float(np.linalg.norm([np.linalg.norm(value.astype(np.float64)) for value in gradients.values()]))


def _our_step(folder: GoldenFolder, float_type: str, nudge: int = 0) -> _Step:
    from tests.parity import maskformer_family

    with maskformer_family.float_type(float_type):
        run = maskformer_family.TrainingRun(folder, nudge)
        step = run.step()
        parts = {weight.name: weight.layout.parts for weight in run.weights}
        return _Step(step["outputs"], run.by_official_name(step["gradients"]), parts)


def _their_step(folder: GoldenFolder, nudge: int = 0) -> _Step:
    if folder.gradients and not folder.is_float64 and not nudge:
        return _Step(folder.outputs, folder.gradients, {})
    if "Swin" in folder.settings["backbone"]:
        raise ValueError(f"A Swin's folder must hold its gradients in float32. Received: {folder.path}")
    import torch

    from tests.parity.maskformer_family import nudged
    from tests.reference.training import train

    with np.load(folder.path / "inputs.npz") as inputs:
        trajectory = train(folder.settings, nudged(folder.initial, nudge), dict(inputs), 1, torch.float32)
    return _Step(trajectory.outputs, trajectory.gradients, {})


def print_rounding(path: pathlib.Path, rounding: Rounding, num_worst: int) -> None:
    """Prints one folder's table, the worst of ours first."""
    print(f"{path}: error in float32\n{'':60} {'ours':>8} {'PyTorch':>8}")
    rows = {f"output {name}": errors for name, errors in rounding.outputs.items()}
    rows[f"gradients of {len(rounding.names)} parameters, all together"] = rounding.global_error
    rows["norm of all gradients"] = rounding.norm_error
    for name, function in (("median", np.median), ("worst", np.max)):
        rows[f"gradients, {name}"] = (float(function(rounding.ours)), float(function(rounding.theirs)))
    for index in np.argsort(-rounding.ours)[:num_worst]:
        rows[rounding.names[index]] = (rounding.ours[index], rounding.theirs[index])
    for name, (ours, theirs) in rows.items():
        print(f"{name.replace('sem_seg_head.', ''):60} {ours:8.1e} {theirs:8.1e}")


def print_spread(roundings: list[Rounding]) -> None:
    """Prints the smallest, the median and the largest error of several steps."""
    print(f"{f'{len(roundings)} steps: smallest, median, largest':60} {'ours':>26} {'PyTorch':>26}")
    of_steps = {
        "gradients, all together": [rounding.global_error for rounding in roundings],
        "norm of all gradients": [rounding.norm_error for rounding in roundings],
        "gradients, median": [(np.median(rounding.ours), np.median(rounding.theirs)) for rounding in roundings],
        "gradients, worst": [(rounding.ours.max(), rounding.theirs.max()) for rounding in roundings],
    }
    for name, errors in of_steps.items():
        spread = np.quantile(np.array(errors), (0, 0.5, 1), axis=0).T
        ours, theirs = (" ".join(f"{value:8.1e}" for value in side) for side in spread)
        print(f"{name:60} {ours} {theirs}")


if __name__ == "__main__":
    sys.exit(main())
