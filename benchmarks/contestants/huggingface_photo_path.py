"""Hugging Face's side of `end_to_end_latency`: processor, model and post-processing, from bytes to segment ids.

`python -m benchmarks.contestants.huggingface_photo_path SETTING`, with a setting of `torch_settings` for the model.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from benchmarks.contestants import busy_photo as busy
from benchmarks.contestants import torch_settings
from benchmarks.contestants.turns import serve


def build() -> tuple[Any, Any]:
    """`(processor, model)`: ResNet-50 and a plain FPN, because it has none with an encoder, with random weights."""
    from transformers import DetrConfig, MaskFormerConfig, MaskFormerForInstanceSegmentation, ResNetConfig
    from transformers.models.maskformer.image_processing_pil_maskformer import MaskFormerImageProcessorPil

    backbone = ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"])
    config = MaskFormerConfig(backbone_config=backbone, decoder_config=DetrConfig(), num_labels=busy.NUM_CLASSES)
    size = {"shortest_edge": busy.SIZE_PX, "longest_edge": 1333}
    processor = MaskFormerImageProcessorPil(size=size, size_divisor=32)
    return processor, MaskFormerForInstanceSegmentation(config).eval()


def sharpen(model: Any, inputs: Any) -> None:
    """See `busy_photo`."""
    import torch

    class_head = model.class_predictor
    mask_head = [layer for layer in model.mask_embedder.modules() if isinstance(layer, torch.nn.Linear)][-1]
    rows: dict[Any, Any] = {}
    hooks = [
        head.register_forward_hook(lambda head, _, output: rows.__setitem__(head, output[0].numpy()))
        for head in (class_head, mask_head)
    ]
    pixels = model(**inputs, output_hidden_states=True).pixel_decoder_last_hidden_state[0].flatten(1).T.numpy()
    for hook in hooks:
        hook.remove()
    for head, change in (
        (class_head, busy.class_change(rows[class_head])),
        (mask_head, busy.mask_change(rows[mask_head], pixels)),
    ):
        factor, shift, gain = (torch.from_numpy(array) for array in (change.factor, change.shift, change.gain))
        head.weight.copy_(factor.T @ head.weight)
        head.bias.copy_((head.bias - shift) @ factor + gain)


def main(setting: str) -> None:
    """Warms up, then runs as often as asked."""
    import torch
    import transformers
    from PIL import Image
    from transformers.models.maskformer.modeling_maskformer import MaskFormerForInstanceSegmentationOutput

    torch.set_num_threads(torch_settings.NUM_THREADS)
    torch.manual_seed(0)
    processor, model = build()
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
