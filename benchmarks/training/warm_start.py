"""Warm start: what a retraining on a second span reaches in a third of the steps, beside one from scratch.

Two spans of generated scenes at 64 px. A model is trained on the first; then the second's mix, as `pipeline/retrain.py`
makes it, is learnt once from that model's weights and once from scratch. Both are scored on the mix's fixed and new
photos.
"""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Iterable

from benchmarks.row import Row, main

NUM_TRAIN, NUM_VAL, EDGE_PX = 160, 40, 64
STEPS, SHARE = 300, 1 / 3
SETTINGS = (
    f"trainer.train_steps={STEPS},trainer.optimizer.drop_steps=[{STEPS * 4 // 5}],trainer.optimizer.warmup_steps=20,"
    "trainer.optimizer.ema_momentum=0.95,trainer.checkpoint_interval=0,trainer.steps_per_loop=50,"
    f"task.train_data.parser.output_size=[{EDGE_PX},{EDGE_PX}],task.train_data.parser.min_sizes_px=[{EDGE_PX}],"
    f"task.train_data.parser.max_size_px={EDGE_PX},task.inference.shortest_edge_px={EDGE_PX},"
    f"task.inference.max_size_px={EDGE_PX},task.inference.size_divisibility={EDGE_PX}"
)


def measure() -> Iterable[Row]:
    """Yields the row; the data is generated."""
    from pipeline.retraining import mixed_data
    from pipeline.retraining.warm_start import WarmStart, experiment_of, warm_overrides

    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        first, second = (_draw_span(root, number) for number in (1, 2))
        mixed_data.build_mix(f"{root}/mix-1", first, [], first, history_share=0)
        mixed_data.build_mix(f"{root}/mix-2", second, [first], first, history_share=0.5)
        experiment = experiment_of(["--experiment", "generated_scenes", "--params_override", SETTINGS])
        before, _ = _train(root, "mix-1", experiment, "first")
        scratch, scratch_steps = _train(root, "mix-2", experiment, "scratch")
        overrides = f"{SETTINGS},{warm_overrides(experiment, f'{root}/first', WarmStart(share=SHARE))}"
        warm_experiment = experiment_of(["--experiment", "generated_scenes", "--params_override", overrides])
        warm, warm_steps = _train(root, "mix-2", warm_experiment, "warm")
    yield Row(
        name=f"PQ on the second span, {warm_steps} steps from the first span's weights",
        ours=warm,
        unit="PQ",
        peer=scratch,
        peer_name=f"{scratch_steps} steps from scratch",
        bar="at least the peer's PQ",
        passed=warm >= scratch and warm_steps * 3 <= scratch_steps,
        remark=f"{2 * NUM_VAL} photos of {EDGE_PX} px, one run each; the first span's model: {before:.3f} on its own",
    )


def _draw_span(root: pathlib.Path, number: int):
    from components.coco_example_gen.data_manifest import build_manifest
    from components.coco_example_gen.options import IngestOptions
    from components.coco_example_gen.sources import sources_of
    from maskformer_model.scenes.data_set import write_data_set
    from pipeline.retraining.mixed_data import Source

    path = f"{root}/span-{number}"
    write_data_set(path, num_train=NUM_TRAIN, num_val=NUM_VAL, size_px=EDGE_PX, seed=number)
    return Source(f"span-{number}", path, build_manifest(path, sources_of(path, IngestOptions()).values()))


def _train(root: pathlib.Path, mix: str, experiment, name: str) -> tuple[float, int]:
    """PQ on the mix's evaluation photos, and after how many steps."""
    from maskformer_model.categories import CategoryTable
    from maskformer_model.config.files import CATEGORIES_FILE
    from maskformer_model.training import loop
    from maskformer_model.training.evaluator import Evaluator

    folder = root / f"{mix}-records"
    if not folder.exists():
        _convert(root / mix, folder)
    categories = CategoryTable.load(str(folder / CATEGORIES_FILE))
    result = loop.train(
        experiment,
        train_files=[f"{folder}/train-*"],
        categories=categories,
        model_dir=f"{root}/{name}",
        progress=False,
    )
    evaluator = Evaluator(result.network, categories, result.config, [f"{folder}/eval-*"])
    return evaluator.evaluate()["pq"], experiment.trainer.train_steps


def _convert(data_dir: pathlib.Path, folder: pathlib.Path) -> None:
    from components.coco_example_gen.conversion.conversion_job import ConversionJob, convert
    from components.coco_example_gen.options import IngestOptions
    from components.coco_example_gen.sources import sources_of

    os.makedirs(folder)
    for split, source in sources_of(str(data_dir), IngestOptions()).items():
        prefix = str(folder / split)
        convert(ConversionJob(source=source, output_prefix=prefix, num_shards=1, beam_args=("--runner=FnApiRunner",)))


if __name__ == "__main__":
    main(measure)
