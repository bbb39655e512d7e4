"""Trains a golden model through `fit`, as `training.loop.train` does, and compares losses with the official ones.

    python -m tests.trajectory FOLDER [FOLDER ...] [--figure FILE.svg]

One row per step and term: ours, the official code's, the relative difference; exit code 1 if one exceeds 1e-3. `parity`
compares the loss function and the optimizer; this goes through the trainer's own step, compiled model and data path of
`fit`. The figure draws both curves.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

BAR = 1e-3
SHOWN = {"total": "total", "loss_ce": "classification", "loss_dice": "dice", "loss_mask": "focal"}


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 if a loss differs by more than `BAR`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    parser.add_argument("--figure", type=pathlib.Path)
    options = parser.parse_args(arguments)
    worst, curves = 0.0, {}
    for folder in options.folders:
        official = json.loads((folder / "golden.json").read_text("utf-8"))["trajectory"]
        ours = fit_losses(folder)
        curves[folder.name] = (ours, official)
        for step, (mine, theirs) in enumerate(zip(ours, official, strict=True)):
            for name in (name for name in theirs if name != "grad_norm"):
                difference = abs(mine[name] - theirs[name]) / max(abs(theirs[name]), 1e-12)
                worst = max(worst, difference if difference == difference else float("inf"))
                print(f"{folder.name} {step:3d} {name:14s} {mine[name]:.6f} {theirs[name]:.6f} {difference:.1e}")
    if options.figure:
        options.figure.write_text(draw(curves), encoding="utf-8")
    print(f"largest relative difference {worst:.1e}, bar {BAR:.0e}: {'pass' if worst <= BAR else 'FAIL'}")
    return int(worst > BAR)


def fit_losses(folder: pathlib.Path) -> list[dict[str, float]]:
    """Every loss term before each update, and their `total`."""
    import keras
    import tensorflow as tf

    from maskformer_model import config as config_lib
    from maskformer_model.pretrained.architecture import infer_model_config
    from maskformer_model.pretrained.sources import read_checkpoint
    from maskformer_model.training import batches, loop
    from tests.parity.golden_folder import read_batch

    golden = json.loads((folder / "golden.json").read_text("utf-8"))
    solver, options = golden["solver"], golden["mask_former"]
    checkpoint = read_checkpoint(str(folder))
    model_config = infer_model_config(checkpoint.arrays, checkpoint.settings)
    config = config_lib.ExperimentConfig(
        task=config_lib.TaskConfig(
            model=model_config,
            losses=config_lib.LossConfig(
                mask_weight=options["MASK_WEIGHT"],
                dice_weight=options["DICE_WEIGHT"],
                background_cls_weight=options["NO_OBJECT_WEIGHT"],
            ),
            init_checkpoint=str(folder),
            init_checkpoint_modules="all",
        ),
        trainer=config_lib.TrainerConfig(
            train_steps=len(golden["trajectory"]),
            steps_per_loop=1,
            optimizer=config_lib.OptimizerConfig(
                learning_rate=solver["base_lr"],
                backbone_multiplier=solver["backbone_multiplier"],
                weight_decay=solver["weight_decay"],
                clip_norm=solver["clip_global_norm"] or 0.0,
                schedule="constant",
            ),
        ),
    )
    model = loop.build_for_training(config)
    names = ("image", "valid_size_px", "segment_map", "segment_classes")
    batch = dict(zip(names, read_batch(folder, options["SIZE_DIVISIBILITY"]), strict=True))
    data = tf.data.Dataset.from_tensors(batches.to_fit_inputs(batch)).repeat()

    class Collect(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.rows: list[dict[str, float]] = []

        def on_train_batch_end(self, batch, logs=None):
            row = {name: float(value) for name, value in self.model.get_metrics_result().items()}
            row["total"] = row.pop("loss")
            self.rows.append(row)
            self.model.reset_metrics()

    collect = Collect()
    model.fit(data, epochs=1, steps_per_epoch=config.trainer.train_steps, callbacks=[collect], verbose=0)
    return collect.rows


def draw(curves) -> str:
    """An SVG: a row of charts for each golden model, the official losses as circles on our line."""
    width, height, margin = 230, 150, 34
    parts = []
    for row, (name, (ours, official)) in enumerate(curves.items()):
        for column, (key, title) in enumerate(SHOWN.items()):
            left, top = column * (width + 20) + margin, row * (height + 62) + 40
            values = [entry[key] for entry in (*ours, *official)]
            low, high = min(values), max(values)
            span = (high - low) or 1.0

            def place(step, value, left=left, top=top, low=low, span=span, count=len(ours)):
                x = left + (width - margin) * step / max(count - 1, 1)
                return x, top + height - 20 - (height - 30) * (value - low) / span

            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(i, e[key]) for i, e in enumerate(ours)))
            parts.append(f'<text x="{left}" y="{top - 8}" font-weight="600">{title}</text>')
            parts.append(f'<polyline points="{line}" fill="none" stroke="#0b66c3" stroke-width="1.6"/>')
            for i, entry in enumerate(official):
                x, y = place(i, entry[key])
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="none" stroke="#c2410c"/>')
            parts.append(f'<text x="{left - 4}" y="{top + height - 16}" text-anchor="end">{low:.3g}</text>')
            parts.append(f'<text x="{left - 4}" y="{top + 14}" text-anchor="end">{high:.3g}</text>')
            parts.append(f'<text x="{left}" y="{top + height}">step 0 to {len(ours) - 1}</text>')
        parts.append(f'<text x="4" y="{row * (height + 62) + 14}" font-weight="600">{name}</text>')
    total_width, total_height = 4 * (width + 20) + margin, len(curves) * (height + 62) + 30
    legend = (
        f'<text x="4" y="{total_height - 8}">line: this trainer, through fit; circles: the official PyTorch code</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_width} {total_height}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(parts)}{legend}</svg>\n"
    )


if __name__ == "__main__":
    sys.exit(main())
