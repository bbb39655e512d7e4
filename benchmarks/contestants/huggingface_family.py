"""Hugging Face's side of `families`.

`python -m benchmarks.contestants.huggingface_family forward|step-SETTING:EXPERIMENT`, with a setting of
`torch_settings` and an experiment of ours, whose sizes the library's model has.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.contestants import torch_settings
from benchmarks.contestants.scene import NUM_CLASSES, SIZE_PX, scene
from benchmarks.contestants.torch_settings import ONNX_RUNTIME
from benchmarks.contestants.turns import serve

MASK2FORMER_R50 = "mask2former_coco_panoptic_r50"
EOMT_SMALL, EOMT_BASE = "eomt_coco_panoptic_small_640", "eomt_coco_panoptic_base_640"
# ONNX Runtime has no implementation of the sampling in Hugging Face's Mask2Former.
FORWARD_SETTINGS = {
    name: tuple(setting for setting in torch_settings.SETTINGS if (name, setting) != (MASK2FORMER_R50, ONNX_RUNTIME))
    for name in (MASK2FORMER_R50, EOMT_SMALL, EOMT_BASE)
}


def build(name: str) -> Any:
    """Returns the library's model of an experiment of ours, with random weights."""
    import transformers

    if name == MASK2FORMER_R50:
        backbone = transformers.ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"])
        config = transformers.Mask2FormerConfig(backbone_config=backbone, num_labels=NUM_CLASSES)
        return transformers.Mask2FormerForUniversalSegmentation(config)
    width = {EOMT_SMALL: 384, EOMT_BASE: 768}[name]
    config = transformers.EomtConfig(
        hidden_size=width,
        num_attention_heads=width // 64,
        num_hidden_layers=12,
        num_blocks=3,
        num_queries=200,
        image_size=SIZE_PX,
        num_labels=NUM_CLASSES,
    )
    return transformers.EomtForUniversalSegmentation(config)


def main(task: str) -> None:
    """Warms up, then runs as often as asked."""
    import torch
    import transformers

    torch.set_num_threads(torch_settings.NUM_THREADS)
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    kind, _, name = task.partition(":")
    work, _, setting = kind.partition("-")
    image, segment_map, segment_classes = scene()
    pixels = torch.tensor(image).permute(0, 3, 1, 2).float() / 64.0 - 2.0
    model = build(name)
    program = f"transformers {transformers.__version__}, {torch_settings.name_of(setting)}"
    if work == "forward":
        forward = torch_settings.prepare(torch_settings.logits_of(model), pixels, setting)
        return serve(program, lambda: forward(pixels))
    model.train()
    for module in model.modules():  # Frozen, as in the recipe.
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
            module.requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-4, weight_decay=0.05)
    classes = torch.tensor(segment_classes[0]).long()
    masks = (torch.tensor(segment_map)[0][None] == torch.arange(1, len(classes) + 1)[:, None, None]).float()
    model, pixels = torch_settings.prepare_training(model, pixels, setting)

    def step():
        optimizer.zero_grad()
        loss = model(pixels, mask_labels=[masks], class_labels=[classes]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 0.01)
        optimizer.step()
        return float(loss.detach())

    return serve(program, step)


if __name__ == "__main__":
    main(sys.argv[1])
