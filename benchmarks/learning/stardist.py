r"""Trains StarDist from scratch on the photos of one of our experiments, and scores it as ours.

    pip install --target SITE --no-deps --only-binary :all: stardist==0.9.2 csbdeep==0.8.2 numba llvmlite \
        scikit-image imageio lazy_loader tifffile networkx
    PYTHONPATH=SITE python -m benchmarks.learning.stardist --data DIR --minutes 30 --threads 2 --output FILE

No lock of the project has StarDist. The first command puts it into a folder of its own, and it runs on the project's
TensorFlow and Keras. Network, losses and settings are the library's (`Config2D` with 32 rays on a grid of 2 x 2 px).
Photos are normalised and augmented, and thresholds chosen, as in its example notebook: 15 % of the train photos are
held out, for the weights of the best epoch and for the thresholds. The time counts the library's validation after each
epoch, but neither that after the last step nor the choice of thresholds.

StarDist finds one class of things. The rest of a photo is scored as background.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.learning import peer

if TYPE_CHECKING:
    import numpy as np

    from benchmarks.learning.photos import Photos
    from benchmarks.learning.results import Result
    from maskformer_model.categories import CategoryTable
    from maskformer_model.data.examples import ExampleRecord
    from maskformer_model.metrics.average_precision import Instance
    from maskformer_model.metrics.segment_matching import MatchedSegment

INSTALL = (
    "pip install --target SITE --no-deps --only-binary :all: stardist==0.9.2 csbdeep==0.8.2 numba llvmlite "
    "scikit-image imageio lazy_loader tifffile networkx, and PYTHONPATH=SITE"
)
LIBRARY, POLY = "library", "poly"
POLY_POWER = 0.9
# Of the example notebook.
HELD_OUT_SHARE, PERCENTILES = 0.15, (1, 99.8)
RAYS, GRID_PX = 32, (2, 2)
# AP ranks what is found, also what is below the threshold; candidates with less than this are left out.
CANDIDATE_PROB = 0.05
_PATCH_PX, _PATCH_DIVISOR_PX = 256, 16  # The library's patch; what its network with this grid can divide.
_ENDLESS = 1_000_000  # Epochs: the time ends a training.
_SECONDS_BETWEEN_LINES = 30.0


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = peer.make_parser(
        __doc__.splitlines()[0], data="nuclei", threads_of="TensorFlow and of StarDist", learning_rate=3e-4
    )
    parser.add_argument(
        "--schedule",
        choices=(LIBRARY, POLY),
        default=LIBRARY,
        help="of the rate: the library's, halved after 40 epochs without progress, or polynomial over the given time",
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Trains, scores, writes the json file and prints the scores."""
    options = peer.parse(make_parser(), arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # Read when StarDist's library is loaded.
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    return peer.train_and_score(run, options)


def run(data: Photos, options: argparse.Namespace) -> Result:
    """Returns the `Result` of a training on `data.train_files`, scored on `data.val_files`.

    Raises:
        ModuleNotFoundError: if StarDist is not installed, saying what to do.
        ValueError: if there is not exactly one class of things, or more than one of stuff.
    """
    check_categories(data.categories)
    try:
        import stardist
        import stardist.models  # Needs the packages that it is installed with.
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"This peer needs StarDist: {INSTALL}", name=error.name) from error
    import keras
    import tensorflow as tf

    from benchmarks.learning import results
    from maskformer_model.config import override, to_dict

    keras.utils.set_random_seed(options.seed)  # Also NumPy's, which the library draws its patches with.
    config = override(data.config, f"runtime.seed={options.seed}")
    with tempfile.TemporaryDirectory() as folder:
        model, steps, seconds, chosen = train(data, options, folder)
    start_s = time.perf_counter()
    measures = dict(itertools.islice(_measures(model, data), options.max_photos or None))
    settings = {
        **peer.settings_of(options),
        **chosen,
        "held_out_share": HELD_OUT_SHARE,
        "candidate_prob": CANDIDATE_PROB,
        "scoring_seconds": round(time.perf_counter() - start_s, 1),
        "parameters": model.keras_model.count_params(),
        "stardist": stardist.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "stardist_config": {name: value for name, value in vars(model.config).items() if name.startswith("train_")},
        "experiment": to_dict(config),
    }
    return results.Result(
        model="StarDist",
        task=config.task.kind,
        steps=steps,
        seconds=seconds,
        settings=settings,
        categories=data.categories,
        measures=measures,
    )


def check_categories(categories: CategoryTable) -> None:
    """Raises ValueError unless there is one class of things, and at most one of stuff."""
    num_things = sum(map(bool, categories.isthing))
    num_stuff = categories.num_classes - num_things
    if num_things != 1 or num_stuff > 1:
        raise ValueError(
            "StarDist is trained on one class of things, with at most one of stuff as its background. "
            f"Received: {num_things} and {num_stuff}"
        )


def train(data: Photos, options: argparse.Namespace, folder: str) -> tuple[Any, int, float, dict[str, Any]]:
    """Trains for the given time, as long as the last step takes, and chooses the thresholds.

    Args:
        data: The photos; those of `val_files` are not read.
        options: The command line's.
        folder: A folder for the library's checkpoints.

    Returns:
        The model, the number of steps, the seconds, and what was chosen on the photos that were held out.
    """
    import numpy as np
    from stardist.models import Config2D, StarDist2D

    pairs = list(_pairs(data.train_files))
    generator = np.random.default_rng(options.seed)
    order = generator.permutation(len(pairs))
    num_held_out = max(1, round(HELD_OUT_SHARE * len(pairs)))
    held_out, trained = ([pairs[i] for i in half] for half in (order[:num_held_out], order[num_held_out:]))
    smallest_px = min(min(labels.shape) for _, labels in pairs)
    patch_px = min(_PATCH_PX, smallest_px // _PATCH_DIVISOR_PX * _PATCH_DIVISOR_PX)
    config = Config2D(
        n_rays=RAYS,
        grid=GRID_PX,
        n_channel_in=3,
        train_patch_size=(patch_px, patch_px),
        train_learning_rate=options.learning_rate,
        train_tensorboard=False,
        **({"train_reduce_lr": None} if options.schedule == POLY else {}),
    )
    with _without_progress_bars():
        model = StarDist2D(config, name="stardist", basedir=folder)
        model.prepare_for_training()
        clock = _make_clock(options)
        model.callbacks.append(clock)
        photos, labels = zip(*trained, strict=True)
        history = model.train(
            photos,
            labels,
            validation_data=tuple(zip(*held_out, strict=True)),
            augmenter=functools.partial(augment, generator=generator),
            epochs=_ENDLESS,
        ).history
        start_s = time.perf_counter()
        model.optimize_thresholds(
            *zip(*held_out, strict=True), predict_kwargs={"verbose": 0}, optimize_kwargs={"verbose": 0}
        )
    chosen = {
        "prob_threshold": model.thresholds.prob,
        "nms_threshold": model.thresholds.nms,
        "threshold_seconds": round(time.perf_counter() - start_s, 1),
        "losses": history["loss"],
        "held_out_losses": history["val_loss"],
    }
    return model, clock.steps, clock.seconds, chosen


def _make_clock(options: argparse.Namespace) -> Any:
    """Returns a Keras callback that ends the training when its time is over, and knows its steps and seconds."""
    import keras

    seconds = 60 * options.minutes

    class Clock(keras.callbacks.Callback):
        steps, seconds = 0, 0.0
        _start_s = _last_line_s = 0.0

        def on_train_begin(self, logs=None):
            self._start_s = time.perf_counter()

        def on_train_batch_begin(self, batch, logs=None):
            if options.schedule == POLY:
                left = max(0.0, 1 - (time.perf_counter() - self._start_s) / seconds)
                self.model.optimizer.learning_rate = options.learning_rate * left**POLY_POWER

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            self._look()
            if self.seconds - self._last_line_s >= _SECONDS_BETWEEN_LINES:
                self._last_line_s = self.seconds
                loss = f"loss {logs['loss']:.3f}, mean of the epoch" if logs else ""
                print(f"step {self.steps}, {self.seconds:.0f} s: {loss}", file=sys.stderr, flush=True)

        def on_epoch_end(self, epoch, logs=None):
            if not self.model.stop_training:
                self._look()

        def _look(self):
            self.seconds = time.perf_counter() - self._start_s
            if self.seconds >= seconds or self.steps == options.max_steps > 0:
                self.model.stop_training = True

    return Clock()


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Leaves out what the library and Keras print at every step."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _pairs(files: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields photos as the network reads them, with their label maps."""
    import stardist

    from benchmarks.learning import photos

    for record in photos.read_records(files):
        yield _pixels(record), stardist.fill_label_holes(label_map(record))


def _pixels(record: ExampleRecord) -> np.ndarray:
    """Returns a photo as `[height, width, 3]` float32, from its dark 0 to its bright 1 over all channels together."""
    import tensorflow as tf
    from csbdeep.utils import normalize

    from maskformer_model.data.preprocessing import decode_image

    return normalize(decode_image(tf.constant(record.image_encoded)).numpy(), *PERCENTILES, axis=(0, 1, 2))


def label_map(record: ExampleRecord) -> np.ndarray:
    """Returns `[height, width]` int32: the things of a photo are 1, 2, ..., and all else is 0, crowds too."""
    import numpy as np

    from maskformer_model.data import panoptic_png

    segment_ids = panoptic_png.decode_panoptic_png(record.panoptic_png)
    labels = np.zeros(segment_ids.shape, np.int32)
    things = (segment.id for segment in record.segments if segment.isthing and not segment.iscrowd)
    for number, id_ in enumerate(things, start=1):
        labels[segment_ids == id_] = number
    return labels


def augment(photo: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Flips, turns, brightens or darkens a square patch and adds noise, as the library's example notebook does."""
    import numpy as np

    quarter_turns, flips = int(generator.integers(4)), generator.integers(2)
    photo, labels = np.rot90(photo, quarter_turns), np.rot90(labels, quarter_turns)
    if flips:
        photo, labels = photo[::-1], labels[::-1]
    photo = photo * generator.uniform(0.6, 2) + generator.uniform(-0.2, 0.2)
    return photo + generator.uniform(0, 0.02) * generator.normal(size=photo.shape), labels


def _measures(model: Any, data: Photos) -> Iterator[tuple[str, Any]]:
    """Yields the name and the counts of every photo that is scored."""
    from benchmarks.learning import results

    max_instances = data.config.task.inference.max_instances
    for record in data.truth():
        # Candidates are suppressed by likelier ones only, so a low threshold changes nothing above a higher one.
        labels, found = model.predict_instances(
            _pixels(record), prob_thresh=min(CANDIDATE_PROB, model.thresholds.prob), predict_kwargs={"verbose": 0}
        )
        ids, segments, instances = answer(
            labels, found["prob"], model.thresholds.prob, data.categories.isthing, max_instances=max_instances
        )
        yield (
            record.filename,
            results.measure(record, data.categories, ids, segments, instances=instances, max_instances=max_instances),
        )


def answer(
    labels: np.ndarray, probs: Sequence[float], threshold: float, isthing: np.ndarray, *, max_instances: int
) -> tuple[np.ndarray, list[MatchedSegment], list[Instance]]:
    """Returns a label map as segment ids, segments and instances; what is no object becomes a segment of stuff.

    Args:
        labels: `[height, width]`, the objects 1, 2, ...; 0 where there is none. An object may have no pixel.
        probs: `[objects]`, the probability of each.
        threshold: Objects with less are no segments; they are instances.
        isthing: `[classes]` bool, one of things, and one or none of stuff.
        max_instances: How many instances are returned, best first.
    """
    import numpy as np

    from maskformer_model.metrics.average_precision import instances_of_map
    from maskformer_model.metrics.segment_matching import MatchedSegment

    thing, stuff = int(np.flatnonzero(isthing)[0]), np.flatnonzero(~isthing).tolist()
    numbers = [number for number in np.unique(labels).tolist() if number]
    numbers.sort(key=lambda number: -probs[number - 1])
    best = numbers[:max_instances]
    instances = instances_of_map(
        labels, [MatchedSegment(number, thing) for number in best], isthing, [probs[number - 1] for number in best]
    )
    likely = sorted(number for number in numbers if probs[number - 1] >= threshold)
    segment_ids = np.where(np.isin(labels, likely), labels, 0).astype(np.int32)
    segments = [MatchedSegment(number, thing) for number in likely]
    if stuff and not segment_ids.all():
        background_id = len(probs) + 1
        segment_ids[segment_ids == 0] = background_id
        segments.append(MatchedSegment(background_id, stuff[0]))
    return segment_ids, segments, instances


if __name__ == "__main__":
    sys.exit(main())
