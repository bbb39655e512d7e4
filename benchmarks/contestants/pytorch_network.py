"""PyTorch's side of `network_forward`, `forward_stages` and `training_step`.

`python -m benchmarks.contestants.pytorch_network stages|forward-SETTING|step-SETTING`, with a setting of
`torch_settings`.

Hugging Face's MaskFormer parts (ResNet-50, FPN, decoder, heads) with the one part that it lacks, six encoder layers on
the stride-32 feature, made of PyTorch's own attention, so that both sides compute the same layers at the same sizes.
Losses and matcher follow the official formulas, with SciPy's assignment, as in the official code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from benchmarks.contestants import torch_settings
from benchmarks.contestants.scene import NUM_CLASSES, scene
from benchmarks.contestants.stages import STAGES
from benchmarks.contestants.turns import serve

DIM, HEADS, FEEDFORWARD, QUERIES, LAYERS, DROPOUT = 256, 8, 2048, 100, 6, 0.1
FEATURES = ["stage1", "stage2", "stage3", "stage4"]


def build() -> Any:
    """The network: normalised image `[1, 3, height, width]` -> a list of class and mask logits, one pair a layer."""
    import torch
    from torch import nn
    from transformers import DetrConfig, MaskFormerConfig, ResNetConfig
    from transformers.models.maskformer import modeling_maskformer as parts

    class EncoderLayer(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(DIM, HEADS, DROPOUT, batch_first=True)
            self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
            self.feed = nn.Sequential(
                nn.Linear(DIM, FEEDFORWARD), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(FEEDFORWARD, DIM)
            )
            self.dropout = nn.Dropout(DROPOUT)

        def forward(self, tokens, position):
            query = tokens + position
            tokens = self.norm1(tokens + self.dropout(self.attention(query, query, tokens, need_weights=False)[0]))
            return self.norm2(tokens + self.dropout(self.feed(tokens)))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            decoder = DetrConfig(
                d_model=DIM,
                decoder_layers=LAYERS,
                decoder_attention_heads=HEADS,
                decoder_ffn_dim=FEEDFORWARD,
                num_queries=QUERIES,
                dropout=DROPOUT,
                attention_dropout=DROPOUT,
                activation_dropout=DROPOUT,
            )
            config = MaskFormerConfig(backbone_config=ResNetConfig(out_features=FEATURES), decoder_config=decoder)
            config.num_labels = NUM_CLASSES
            whole = parts.MaskFormerForInstanceSegmentation(config)
            self.backbone = whole.model.pixel_level_module.encoder
            self.projection = nn.Conv2d(2048, DIM, 1)
            self.encoder = nn.ModuleList(EncoderLayer() for _ in range(LAYERS))
            self.pixel_decoder = parts.MaskFormerPixelDecoder(
                in_features=DIM, lateral_widths=[256, 512, 1024], feature_size=DIM, mask_feature_size=DIM
            )
            self.transformer = parts.MaskFormerTransformerModule(DIM, config)
            self.class_head, self.mask_head = whole.class_predictor, whole.mask_embedder
            for layer in self.transformer.decoder.layers:
                layer.register_forward_hook(self._keep)

        def _keep(self, _layer, _inputs, output):
            self.states.append(output[0] if isinstance(output, tuple) else output)

        def encode(self, feature):
            top = self.projection(feature)
            batch, _, height, width = top.shape
            position = self.transformer.position_embedder(top.shape, top.device, top.dtype)
            position = position.reshape(batch, DIM, -1).transpose(1, 2)
            tokens = top.flatten(2).transpose(1, 2)
            for layer in self.encoder:
                tokens = layer(tokens, position)
            return tokens.transpose(1, 2).reshape(batch, DIM, height, width)

        def fuse(self, features, top):
            return self.pixel_decoder([*features[:-1], top]).last_hidden_state

        def predict(self, top):
            self.states: list[Any] = []
            self.transformer(top.contiguous())
            states = self.states if self.training else self.states[-1:]
            states = [self.transformer.decoder.layernorm(state) for state in states]
            return [(self.class_head(state), self.mask_head(state)) for state in states]

        def product(self, embeddings, pixels):
            return torch.einsum("bqc,bchw->bqhw", embeddings, pixels)

        def forward(self, image):
            features = list(self.backbone(image).feature_maps)
            top = self.encode(features[-1])
            pixels = self.fuse(features, top)
            return [(logits, self.product(embeddings, pixels)) for logits, embeddings in self.predict(top)]

        def train(self, mode=True):
            super().train(mode)
            for module in self.backbone.modules():  # Frozen, as in the reference.
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
                    module.requires_grad_(False)
            return self

    return Network()


def stages(network: Any, image: Any) -> dict[str, Callable[[], Any]]:
    """Returns each stage alone, over what the stage before it gives for this image."""
    features = list(network.backbone(image).feature_maps)
    top = network.encode(features[-1])
    pixels = network.fuse(features, top)
    embeddings = network.predict(top)[-1][1]
    calls = (
        lambda: network.backbone(image),
        lambda: network.encode(features[-1]),
        lambda: network.fuse(features, top),
        lambda: network.predict(top),
        lambda: network.product(embeddings, pixels),
    )
    return dict(zip(STAGES, calls, strict=True))


def objective(layers: list[Any], masks: Any, classes: Any) -> Any:
    """Returns the official losses of every layer, summed; `masks` is `[targets, height, width]`, one image."""
    import torch
    from torch.nn import functional

    weights = torch.ones(NUM_CLASSES + 1)
    weights[-1] = 0.1
    total = torch.zeros(())
    for class_logits, mask_logits in layers:
        query, target = _match(class_logits[0].detach(), mask_logits[0].detach(), masks, classes)
        wanted = torch.full((class_logits.shape[1],), NUM_CLASSES)
        wanted[query] = classes[target]
        full = functional.interpolate(mask_logits[0, query][:, None], size=masks.shape[1:], mode="bilinear")
        logits, truth = full[:, 0].flatten(1), masks[target].flatten(1).float()
        probs = logits.sigmoid()
        cross_entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        right = probs * truth + (1 - probs) * (1 - truth)
        focal = (0.25 * truth + 0.75 * (1 - truth)) * (1 - right) ** 2 * cross_entropy
        dice = 1 - (2 * (probs * truth).sum(1) + 1) / (probs.sum(1) + truth.sum(1) + 1)
        total = total + functional.cross_entropy(class_logits[0], wanted, weights)
        total = total + 20 * focal.mean(1).sum() / len(classes) + dice.sum() / len(classes)
    return total


def _match(class_logits: Any, mask_logits: Any, masks: Any, classes: Any) -> tuple[Any, Any]:
    import torch
    from scipy.optimize import linear_sum_assignment
    from torch.nn import functional

    truth = functional.interpolate(masks[:, None].float(), size=mask_logits.shape[1:], mode="nearest").flatten(1)
    logits = mask_logits.flatten(1)
    probs = logits.sigmoid()
    if_one = 0.25 * (1 - probs) ** 2 * functional.softplus(-logits)
    if_zero = 0.75 * probs**2 * functional.softplus(logits)
    focal = (if_one @ truth.T + if_zero @ (1 - truth).T) / logits.shape[1]
    dice = 1 - (2 * probs @ truth.T + 1) / (probs.sum(1)[:, None] + truth.sum(1)[None] + 1)
    cost = 20 * focal + dice - class_logits.softmax(-1)[:, classes]
    query, target = linear_sum_assignment(cost.numpy())
    return torch.as_tensor(query), torch.as_tensor(target)


def main(task: str) -> None:
    """Warms up, then runs as often as asked."""
    import torch

    torch.set_num_threads(torch_settings.NUM_THREADS)
    torch.manual_seed(0)
    image, segment_map, segment_classes = scene()
    pixels = torch.tensor(image).permute(0, 3, 1, 2).float() / 64.0 - 2.0
    network = build()
    work, _, setting = task.partition("-")
    name = torch_settings.name_of(setting or torch_settings.EAGER)
    if work == "stages":
        network.eval()
        with torch.inference_mode():
            return serve(name, lambda: network(pixels), parts=stages(network, pixels))
    if work == "forward":
        forward = torch_settings.prepare(_last_layer(network).eval(), pixels, setting)
        return serve(name, lambda: forward(pixels))
    network.train()
    classes = torch.tensor(segment_classes[0]).long()
    masks = torch.tensor(segment_map)[0][None] == torch.arange(1, len(classes) + 1)[:, None, None]
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-4, weight_decay=1e-4)
    network, pixels = torch_settings.prepare_training(network, pixels, setting)

    def step():
        optimizer.zero_grad()
        loss = objective(network(pixels), masks, classes)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 0.01)
        optimizer.step()
        return float(loss.detach())

    return serve(name, step)


def _last_layer(network: Any) -> Any:
    """Returns a network that answers with the last layer's class and mask logits alone."""
    from torch import nn

    class LastLayer(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, image):
            return self.network(image)[-1]

    return LastLayer()


if __name__ == "__main__":
    main(sys.argv[1])
