"""Photo bytes to panoptic map: our exported R50+transformer_fpn at 640 px beside Hugging Face's MaskFormer in PyTorch.

Both start from the same JPEG of 640 x 640 px and end with segment ids at its size: decode, resize, normalise, network,
merge. Weights are random and the class heads are shifted so that twenty queries propose a segment, as on a busy COCO
photo; Hugging Face's model is a ResNet-50 with a plain FPN, because it has none with an encoder, so ours does more.
Calls alternate, so that what else the machine does meets both alike.
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.row import Row, main

SIZE_PX = 640
NUM_KEPT = 20
NUM_CALLS = 9
BAR = 0.7
POST_BAR = 0.1


def photo_bytes() -> bytes:
    """A JPEG with structure at every scale."""
    from PIL import Image

    random = np.random.default_rng(0)
    pixels = np.zeros((SIZE_PX, SIZE_PX, 3))
    for cells in (4, 16, 64):
        coarse = Image.fromarray(random.integers(0, 255, (cells, cells, 3), np.uint8))
        pixels += np.asarray(coarse.resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC)) / 3
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()


def make_ours(jpeg: bytes) -> tuple[Callable[[], int], Callable[[], None]]:
    """Calls of the exported model (returns the number of segments) and of the network's part of it alone."""
    import tensorflow as tf

    from maskformer_model import export, photo_inference, preprocessing, recipes
    from maskformer_model.categories import CategoryTable
    from maskformer_model.config import ExperimentConfig, TaskConfig
    from maskformer_model.maskformer import MaskFormer

    model_config = recipes.transformer_fpn_model(recipes.RESNET_50, num_classes=133)
    config = ExperimentConfig(
        task=TaskConfig(model=model_config, inference=recipes.inference(SIZE_PX, 1333, overlap_threshold=0.1))
    )
    categories = CategoryTable.from_coco([{"id": n, "name": str(n), "isthing": int(n <= 80)} for n in range(1, 134)])
    network = MaskFormer(model_config)
    network.build()
    photo = preprocessing.decode_image(tf.constant(jpeg))
    photos = photo_inference.PhotoInference(network, config.task.inference, categories.isthing)
    _shift_heads(network, photos.propose(photo))
    with tempfile.TemporaryDirectory() as folder:
        export.export_saved_model(network, categories, config, folder)
        loaded = tf.saved_model.load(folder)
    signature = loaded.signatures["serving_default"]

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def network_alone(image_bytes):
        """Everything before the first thing that is done with the queries."""
        proposals = photos.propose(preprocessing.decode_image(image_bytes))
        return tf.reduce_sum(proposals.class_logits) + tf.reduce_sum(proposals.pixels)

    def whole() -> int:
        answer = signature(image_bytes=tf.constant([jpeg]))
        answer["panoptic_png_bytes"].numpy()
        assert loaded is not None  # A signature holds its variables only weakly.
        return int(answer["num_segments"][0])

    return whole, lambda: network_alone(tf.constant(jpeg)).numpy()


def _shift_heads(network, proposals) -> None:
    head, last = network.predictor.class_head, network.predictor.mask_head[-1]
    for layer, rows, spread in (
        (head, proposals.class_logits.numpy(), 10.0),
        (last, proposals.mask_embeddings.numpy(), 1.0),
    ):
        scale = spread / (rows - rows.mean(axis=0)).std()
        layer.bias.assign((layer.bias.numpy() - rows.mean(axis=0)) * scale)
        layer.kernel.assign(layer.kernel * scale)
        if layer is head:
            logits = (rows - rows.mean(axis=0)) * scale
            bias = head.bias.numpy()
            bias[-1] += _margin(logits)
            head.bias.assign(bias)


def _margin(logits: np.ndarray) -> float:
    """What "no object" must gain so that `NUM_KEPT` queries remain."""
    margins = np.sort(logits[:, :-1].max(axis=1) - logits[:, -1])[::-1]
    return float(margins[NUM_KEPT - 1 : NUM_KEPT + 1].mean())


def make_theirs(jpeg: bytes) -> Callable[[], int]:
    """Calls of Hugging Face's processor, model and post-processing; returns the number of segments."""
    import torch
    from PIL import Image
    from transformers import DetrConfig, MaskFormerConfig, MaskFormerForInstanceSegmentation, ResNetConfig
    from transformers.models.maskformer.image_processing_pil_maskformer import MaskFormerImageProcessorPil

    torch.set_num_threads(2)
    torch.manual_seed(0)
    backbone = ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"])
    config = MaskFormerConfig(backbone_config=backbone, decoder_config=DetrConfig(), num_labels=133)
    model = MaskFormerForInstanceSegmentation(config).eval()
    processor = MaskFormerImageProcessorPil(size={"shortest_edge": SIZE_PX, "longest_edge": 1333}, size_divisor=32)

    def forward():
        image = Image.open(io.BytesIO(jpeg)).convert("RGB")
        return model(**processor(images=image, return_tensors="pt"))

    def whole() -> int:
        with torch.inference_mode():
            answer = processor.post_process_panoptic_segmentation(
                forward(),
                threshold=0.8,
                overlap_mask_area_threshold=0.1,
                label_ids_to_fuse=set(range(80, 133)),
                target_sizes=[(SIZE_PX, SIZE_PX)],
            )[0]
        answer["segmentation"].numpy()
        return len(answer["segments_info"])

    with torch.inference_mode():
        head = model.class_predictor
        logits = forward().class_queries_logits[0].numpy()
        centred = logits - logits.mean(axis=0)
        scale = 10.0 / centred.std()
        head.bias.copy_((head.bias - torch.from_numpy(logits.mean(axis=0))) * scale)
        head.weight.mul_(scale)
        head.bias[-1] += _margin(centred * scale)
        last = list(model.mask_embedder.parameters())[-2:]
        masks = forward().masks_queries_logits[0]
        for parameter in last:
            parameter.mul_(4.0 / float(masks.std()))
    return whole


def measure() -> Iterator[Row]:
    """Two rows: the whole beside the peer, and post-processing's share of the whole."""
    jpeg = photo_bytes()
    theirs = make_theirs(jpeg)
    ours, network_alone = make_ours(jpeg)
    calls = {"ours": ours, "network": network_alone, "theirs": theirs}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    segments = {"ours": ours(), "theirs": theirs()}
    network_alone()
    for _ in range(NUM_CALLS):
        for name, call in calls.items():
            start_s = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start_s)
    median_ms = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
    ratio = statistics.median(a / b for a, b in zip(seconds["ours"], seconds["theirs"], strict=True))
    share = statistics.median(1 - b / a for a, b in zip(seconds["ours"], seconds["network"], strict=True))
    import transformers

    yield Row(
        name=f"photo bytes to panoptic map, R50 at {SIZE_PX} px",
        ours=median_ms["ours"],
        unit="ms",
        peer=median_ms["theirs"],
        peer_name=f"transformers {transformers.__version__}",
        bar=f"at most {BAR} of the peer's time",
        passed=ratio <= BAR,
        remark=f"median ratio of {NUM_CALLS} pairs {ratio:.2f}; segments {segments['ours']} and {segments['theirs']}",
    )
    yield Row(
        name="post-processing, masks and PNG: share of the whole",
        ours=100 * share,
        unit="%",
        bar=f"at most {100 * POST_BAR:.0f} %",
        passed=share <= POST_BAR,
        remark=f"whole {median_ms['ours']:.0f} ms, decoding and network {median_ms['network']:.0f} ms",
    )


if __name__ == "__main__":
    main(measure)
