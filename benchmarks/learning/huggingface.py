"""Trains Hugging Face's MaskFormer or Mask2Former on the photos of one of our experiments, and scores it as ours.

    python -m benchmarks.learning.huggingface --model mask2former --data DIR --minutes 30 --threads 2 --output FILE

The photos, crops, colours, batches and the test size are the experiment's, and so are the ImageNet weights of the
backbone and the thresholds at the end. Model, losses, matcher and post-processing are the library's. The loop is the
plain one of its documentation with the settings of both official recipes: AdamW with 1e-4, a tenth of it for the
backbone, a polynomial schedule over the given time, gradients clipped to a norm of 0.01, losses after every decoder
layer. Heads have the library's default sizes; `--small` gives them sizes near ours. The trained weights are written
beside the json file, with the suffix `.pt`; `benchmarks.learning.pq_per_ms` reads both.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import sys
import time
import types
from typing import TYPE_CHECKING, Any

from benchmarks.contestants import torch_settings
from benchmarks.contestants.torch_settings import CHANNELS_LAST
from benchmarks.learning import peer

if TYPE_CHECKING:
    from benchmarks.learning.photos import Photos
    from benchmarks.learning.results import Result
    from components.panoptic_predictor.image_measures import ImageMeasures
    from maskformer_model.config import ExperimentConfig
    from maskformer_model.data.examples import ExampleRecord
    from maskformer_model.metrics.segment_matching import MatchedSegment

    Answer = tuple[Any, list[MatchedSegment], list[float]]

MASKFORMER, MASK2FORMER = "maskformer", "mask2former"
NAMES = {MASKFORMER: "MaskFormer", MASK2FORMER: "Mask2Former"}
WEIGHT_DECAY = {MASKFORMER: 1e-4, MASK2FORMER: 0.05}  # Of the official configs.
POLY_POWER, CLIP_NORM = 0.9, 0.01
_PIXEL_MEAN, _PIXEL_STD = 127.0, 128.0  # What the backbone's weights were trained with.
_SECONDS_BETWEEN_LINES = 30.0


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = peer.make_parser(
        __doc__.splitlines()[0], data="camvid or nuclei", threads_of="PyTorch", learning_rate=1e-4
    )
    parser.add_argument("--model", required=True, choices=(MASKFORMER, MASK2FORMER))
    parser.add_argument("--small", action="store_true", help="heads of sizes near ours, not the library's")
    parser.add_argument("--backbone_multiplier", type=float, default=0.1, help="default: %(default)s")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Trains, scores, writes the json file and prints the scores."""
    return peer.train_and_score(run, peer.parse(make_parser(), arguments))


def run(data: Photos, options: argparse.Namespace) -> Result:
    """Returns the `Result` of a training on `data.train_files`, scored on `data.val_files`.

    Raises:
        ModuleNotFoundError: if PyTorch, transformers or the ImageNet weights are not installed, saying what to do.
    """
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "The peers need PyTorch and transformers: make env-parity", name=error.name
        ) from error
    from benchmarks.learning import results
    from maskformer_model.config import override, to_dict

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    config = override(data.config, f"runtime.seed={options.seed}")
    model = build(options.model, config, small=options.small)
    steps, seconds = train(model, config, data.train_files, options)
    start_s = time.perf_counter()
    torch.save(model.state_dict(), weights_beside(options.output))
    peer_model = TrainedPeer(options.model, model, data)
    photos = itertools.islice(data.truth(), options.max_photos or None)
    measures = {photo.filename: peer_model.measures(photo, peer_model.answer(photo)) for photo in photos}
    settings = {
        **peer.settings_of(options),
        "weight_decay": WEIGHT_DECAY[options.model],
        "clip_norm": CLIP_NORM,
        "scoring_seconds": round(time.perf_counter() - start_s, 1),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "experiment": to_dict(config),
    }
    return results.Result(
        model=f"Hugging Face {NAMES[options.model]}{', small heads' if options.small else ''}",
        task=config.task.kind,
        steps=steps,
        seconds=seconds,
        settings=settings,
        categories=data.categories,
        measures=measures,
    )


def build(name: str, config: ExperimentConfig, *, small: bool) -> Any:
    """Returns the library's model with ImageNet's backbone and as many queries and classes as the experiment."""
    import torch
    import transformers

    from benchmarks.learning.torch_backbone import EfficientNetLiteConfig

    transformers.logging.set_verbosity_error()  # It warns of every backbone that is no Swin Transformer.
    task_model = config.task.model
    common = {"backbone_config": EfficientNetLiteConfig(), "num_labels": task_model.num_classes}
    model: Any
    if name == MASKFORMER:
        sizes: dict[str, Any] = {
            "d_model": 128,
            "decoder_layers": 3,
            "decoder_attention_heads": 4,
            "decoder_ffn_dim": 256,
        }
        sizes |= {"encoder_attention_heads": 4, "dropout": 0.0}
        decoder = transformers.DetrConfig(num_queries=task_model.num_queries, **(sizes if small else {}))
        widths = {"fpn_feature_size": 64, "mask_feature_size": 64} if small else {}
        model = _maskformer(transformers.MaskFormerConfig(decoder_config=decoder, **widths, **common))
    else:
        sizes = {"feature_size": 64, "mask_feature_size": 64, "hidden_dim": 128, "num_attention_heads": 4}
        # The library counts the layers with the prediction before the first one.
        sizes |= {"encoder_layers": 1, "encoder_feedforward_dim": 256, "decoder_layers": 4, "dim_feedforward": 256}
        model = transformers.Mask2FormerForUniversalSegmentation(
            transformers.Mask2FormerConfig(num_queries=task_model.num_queries, **(sizes if small else {}), **common)
        )
    model.model.pixel_level_module.encoder.load_imagenet_weights()
    return model.to(memory_format=torch.channels_last)


def _maskformer(config: Any) -> Any:
    """Returns a MaskFormer with losses after every decoder layer, as the official one has them.

    The library leaves them out by default. Where they are asked for, it also predicts from the queries before the
    first layer, which are all zeros; these predictions are left out.
    """
    import transformers

    class MaskFormerForInstanceSegmentation(transformers.MaskFormerForInstanceSegmentation):
        def forward(self, *inputs, **labels):
            self.config.use_auxiliary_loss = self.training
            return super().forward(*inputs, output_hidden_states=self.training, **labels)

        def get_logits(self, outputs):
            if self.training:
                outputs.transformer_decoder_hidden_states = outputs.transformer_decoder_hidden_states[1:]
            return super().get_logits(outputs)

    return MaskFormerForInstanceSegmentation(config)


def train(model: Any, config: ExperimentConfig, files: str, options: argparse.Namespace) -> tuple[int, float]:
    """Trains for the given time, and as long as the last step takes; returns the number of steps and the seconds."""
    import torch

    from maskformer_model.training.batches import training_data

    model.train()
    optimizer = torch.optim.AdamW(_parameter_groups(model, options), options.learning_rate)
    rates = [group["lr"] for group in optimizer.param_groups]
    seconds, elapsed_s, last_line_s, steps = 60 * options.minutes, 0.0, 0.0, 0
    start_s = time.perf_counter()
    for x, y in training_data(config, [files]).as_numpy_iterator():
        elapsed_s = time.perf_counter() - start_s
        if elapsed_s >= seconds or steps == options.max_steps > 0:
            break
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - elapsed_s / seconds) ** POLY_POWER
        loss = model(_pixels(x["image"]), **_labels(y["segment_map"], y["segment_classes"])).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        steps += 1
        if elapsed_s - last_line_s >= _SECONDS_BETWEEN_LINES:
            last_line_s = elapsed_s
            print(f"step {steps}, {elapsed_s:.0f} s: loss {loss.item():.3f}", file=sys.stderr, flush=True)
    return steps, elapsed_s


def _parameter_groups(model: Any, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns the groups of the official recipes: norms and embeddings do not decay, the backbone learns slower."""
    from torch import nn

    without_decay = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d, nn.Embedding)
    backbone = {id(parameter) for parameter in model.model.pixel_level_module.encoder.parameters()}
    groups: dict[tuple[float, float], list[Any]] = {}
    for module in model.modules():
        decay = 0.0 if isinstance(module, without_decay) else WEIGHT_DECAY[options.model]
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad:
                multiplier = options.backbone_multiplier if id(parameter) in backbone else 1.0
                groups.setdefault((options.learning_rate * multiplier, decay), []).append(parameter)
    return [{"params": chosen, "lr": rate, "weight_decay": decay} for (rate, decay), chosen in groups.items()]


def _pixels(images: Any) -> Any:
    """Turns `[batch, height, width, 3]` uint8 into `[batch, 3, height, width]` float32 as the backbone reads it."""
    import torch

    # A photo's pixels lie channels last already, which PyTorch's convolutions are faster with.
    return (torch.tensor(images).permute(0, 3, 1, 2).float() - _PIXEL_MEAN) / _PIXEL_STD


def _labels(segment_maps: Any, segment_classes: Any) -> dict[str, list[Any]]:
    """Returns the masks and the classes of each photo's targets, as the library's losses take them."""
    import torch

    labels: dict[str, list[Any]] = {"mask_labels": [], "class_labels": []}
    for segment_map, classes in zip(torch.tensor(segment_maps), segment_classes, strict=True):
        present = torch.tensor(classes[classes >= 0]).long()
        numbers = torch.arange(1, len(present) + 1, dtype=segment_map.dtype)
        labels["mask_labels"].append((segment_map[None] == numbers[:, None, None]).float())
        labels["class_labels"].append(present)
    return labels


class TrainedPeer:
    """A trained model that answers photos, with the library's own post-processing.

    Args:
        name: `MASKFORMER` or `MASK2FORMER`.
        model: The library's.
        data: The test size, the thresholds and the classes are its experiment's.
        setting: How the network runs, one of `torch_settings`; prepared once for each size of a photo.
        compares: Check that the setting gives the logits of the network as it is.
    """

    def __init__(self, name: str, model: Any, data: Photos, setting: str = CHANNELS_LAST, *, compares: bool = False):
        import transformers

        is_maskformer = name == MASKFORMER
        processor = "MaskFormerImageProcessorPil" if is_maskformer else "Mask2FormerImageProcessorPil"
        self._processor = getattr(transformers, processor)()
        self._network = torch_settings.logits_of(model.eval())
        self._setting, self._compares = setting, compares
        self._data = data
        self._prepared: dict[tuple[int, ...], Any] = {}

    def answer(self, record: ExampleRecord) -> Answer:
        """Returns segment ids `[height, width]`, segments and scores of a photo, from the bytes of its file."""
        import tensorflow as tf
        import torch

        from maskformer_model.config import SEMANTIC
        from maskformer_model.data.preprocessing import decode_image, resize_for_inference

        task = self._data.config.task
        resized = resize_for_inference(decode_image(tf.constant(record.image_encoded)), task.inference).numpy()
        target_sizes = [(record.height_px, record.width_px)]
        with torch.inference_mode():
            outputs = self._logits(_pixels(resized[None]))
            if task.kind == SEMANTIC:
                class_map = self._processor.post_process_semantic_segmentation(outputs, target_sizes=target_sizes)[0]
                return semantic_answer(class_map.numpy())
            panoptic = self._processor.post_process_panoptic_segmentation(
                outputs,
                threshold=task.inference.object_mask_threshold,
                overlap_mask_area_threshold=task.inference.overlap_threshold,
                label_ids_to_fuse=set(),
                target_sizes=target_sizes,
            )[0]
        isthing = self._data.categories.isthing
        return panoptic_answer(panoptic["segmentation"].numpy(), panoptic["segments_info"], isthing)

    def measures(self, record: ExampleRecord, answer: Answer) -> ImageMeasures:
        """Returns the counts of an answer."""
        from benchmarks.learning import results

        max_instances = self._data.config.task.inference.max_instances
        return results.measure(record, self._data.categories, *answer, max_instances=max_instances)

    def _logits(self, pixels: Any) -> Any:
        import torch

        size = tuple(pixels.shape)
        if size not in self._prepared:
            self._prepared[size] = torch_settings.prepare(self._network, pixels, self._setting, compares=self._compares)
        class_logits, mask_logits = (torch.as_tensor(value) for value in self._prepared[size](pixels))
        return types.SimpleNamespace(class_queries_logits=class_logits, masks_queries_logits=mask_logits)


def weights_beside(output: str | pathlib.Path) -> pathlib.Path:
    """Returns the path of the trained weights, beside the json file of their result."""
    return pathlib.Path(output).with_suffix(".pt")


def load(output: str | pathlib.Path, data: Photos) -> tuple[str, Any]:
    """Returns name and model of a training whose result and weights this command wrote.

    Raises:
        ValueError: if the result is of another peer.
        FileNotFoundError: if the weights are not beside it.
    """
    import torch

    from benchmarks.learning.results import Result

    settings = Result.load(output).settings
    if "small" not in settings:
        raise ValueError(f"A peer's result must be of `benchmarks.learning.huggingface`. Received: {output}")
    model = build(settings["model"], data.config, small=settings["small"])
    model.load_state_dict(torch.load(weights_beside(output), weights_only=True))
    return settings["model"], model


def semantic_answer(class_map: Any) -> Answer:
    """Returns a class map `[height, width]` as segment ids, segments and scores: a segment of every class in it."""
    import numpy as np

    from maskformer_model.metrics.segment_matching import MatchedSegment

    segment_ids = class_map.astype(np.int32) + 1
    segments = [MatchedSegment(int(id_), int(id_) - 1) for id_ in np.unique(segment_ids)]
    return segment_ids, segments, [1.0] * len(segments)


def panoptic_answer(segmentation: Any, segments_info: Any, isthing: Any) -> Answer:
    """Returns the library's panoptic map as segment ids, segments and scores; stuff of one class becomes one segment.

    It is not fused by the library's `label_ids_to_fuse`: that goes back to the number of the first stuff segment and
    gives the numbers after it a second time, so that separate objects become one (transformers 5.23).

    Args:
        segmentation: `[height, width]`, the ids of `segments_info`; 0 or less where there is no segment.
        segments_info: A dict per segment, with `id`, `label_id` and `score`.
        isthing: `[classes]` bool.
    """
    import numpy as np

    from maskformer_model.metrics.segment_matching import MatchedSegment

    segment_ids = np.maximum(segmentation, 0).astype(np.int32)
    segments: list[MatchedSegment] = []
    scores: list[float] = []
    stuff: dict[int, int] = {}
    for info in segments_info:
        first_id = stuff.setdefault(info["label_id"], info["id"])
        if first_id != info["id"] and not isthing[info["label_id"]]:
            segment_ids[segment_ids == info["id"]] = first_id
        else:
            segments.append(MatchedSegment(info["id"], info["label_id"]))
            scores.append(info["score"])
    return segment_ids, segments, scores


if __name__ == "__main__":
    sys.exit(main())
