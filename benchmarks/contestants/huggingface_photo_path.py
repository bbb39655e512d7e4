"""Hugging Face's side of `end_to_end_latency`: processor, model and post-processing, from bytes to segment ids.

`python -m benchmarks.contestants.huggingface_photo_path SETTING:EXPERIMENT`, with a setting of `torch_settings` for the
model, and the experiment of ours that it is beside.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from benchmarks.contestants import busy_photo as busy
from benchmarks.contestants import huggingface_family, torch_settings
from benchmarks.contestants.turns import serve


def build(experiment: str) -> tuple[Any, Any]:
    """`(processor, model)` with random weights; MaskFormer's FPN is plain, because there is none with an encoder."""
    import transformers
    from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil
    from transformers.models.maskformer.image_processing_pil_maskformer import MaskFormerImageProcessorPil

    size = {"size": {"shortest_edge": busy.SIZE_PX, "longest_edge": 1333}, "size_divisor": 32}
    if experiment == huggingface_family.MASK2FORMER_R50:
        return Mask2FormerImageProcessorPil(**size), huggingface_family.build(experiment).eval()
    backbone = transformers.ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"])
    config = transformers.MaskFormerConfig(
        backbone_config=backbone, decoder_config=transformers.DetrConfig(), num_labels=busy.NUM_CLASSES
    )
    return MaskFormerImageProcessorPil(**size), transformers.MaskFormerForInstanceSegmentation(config).eval()


def sharpen(model: Any, inputs: Any) -> None:
    """See `busy_photo`. Masks come first: in Mask2Former classes depend on them."""
    from torch import nn

    (embedder,) = [module for name, module in model.named_modules() if name.endswith("mask_embedder")]
    mask_head = [layer for layer in embedder.modules() if isinstance(layer, nn.Linear)][-1]
    embeddings, pixels = _last_output(model, inputs, mask_head)
    _apply(busy.mask_change(embeddings, pixels), mask_head)
    _apply(busy.class_change(_last_output(model, inputs, model.class_predictor)[0]), model.class_predictor)


def _last_output(model: Any, inputs: Any, head: Any) -> tuple[Any, Any]:
    """Returns what the head last gave for the photo, `[queries, channels]`, and the pixels, `[pixels, channels]`."""
    outputs = []
    hook = head.register_forward_hook(lambda head, _, output: outputs.append(output))
    pixels = model(**inputs, output_hidden_states=True).pixel_decoder_last_hidden_state
    hook.remove()
    # Hugging Face's Mask2Former has the queries first in some layers, and one photo.
    return outputs[-1].reshape(-1, outputs[-1].shape[-1]).numpy(), pixels[0].flatten(1).T.numpy()


def _apply(change: busy.Change, head: Any) -> None:
    import torch

    factor, shift, gain = (torch.from_numpy(array) for array in (change.factor, change.shift, change.gain))
    head.weight.copy_(factor.T @ head.weight)
    head.bias.copy_((head.bias - shift) @ factor + gain)


def main(task: str) -> None:
    """Warms up, then runs as often as asked."""
    import torch
    import transformers
    from PIL import Image
    from transformers.models.maskformer.modeling_maskformer import MaskFormerForInstanceSegmentationOutput

    setting, _, experiment = task.partition(":")
    torch.set_num_threads(torch_settings.NUM_THREADS)
    torch.manual_seed(0)
    processor, model = build(experiment)
    jpeg = busy.photo_bytes()

    def inputs():
        return processor(images=Image.open(io.BytesIO(jpeg)).convert("RGB"), return_tensors="pt")

    pixels = inputs()["pixel_values"].clone()
    is_half = setting in torch_settings.HALF_SETTINGS
    if is_half:  # Sharpened heads would magnify its rounding.
        torch_settings.prepare(torch_settings.logits_of(model), pixels, setting)
    with torch.inference_mode():
        sharpen(model, inputs())
    forward = torch_settings.prepare(torch_settings.logits_of(model), pixels, setting, compares=not is_half)

    def whole():
        logits, masks = (torch.as_tensor(value) for value in forward(inputs()["pixel_values"]))
        answer = processor.post_process_panoptic_segmentation(
            MaskFormerForInstanceSegmentationOutput(class_queries_logits=logits, masks_queries_logits=masks),
            threshold=busy.OBJECT_MASK_THRESHOLD,
            overlap_mask_area_threshold=busy.OVERLAP_THRESHOLD,
            label_ids_to_fuse=set(range(busy.NUM_THINGS, busy.NUM_CLASSES)),
            target_sizes=[(busy.SIZE_PX, busy.SIZE_PX)],
        )[0]
        answer["segmentation"].numpy()
        return answer["segments_info"]

    with torch.inference_mode():
        name = f"transformers {transformers.__version__}, {torch_settings.name_of(setting)}"
        serve(f"{name}, {len(whole())} segments", whole, warm_up=1)


if __name__ == "__main__":
    main(sys.argv[1])
