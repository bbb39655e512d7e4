"""The files of other runtimes, run in them; skipped where the extra `exports` is not installed."""

from __future__ import annotations

import dataclasses
import importlib.util

import keras
import numpy as np
import pytest

from maskformer_model import other_formats
from maskformer_model.config import ModelConfig, SwinConfig
from maskformer_model.modeling.maskformer import MaskFormer
from tests.maskformer_model.helpers import tiny_run
from tests.maskformer_model.helpers.families import FAMILIES
from tests.maskformer_model.helpers.small_export import small_config

RUNTIMES = {
    "onnx": ("onnxruntime", "tf2onnx"),
    "openvino": ("openvino",),
    "litert": ("ai_edge_litert",),
    "litert_dynamic": ("ai_edge_litert",),
    "litert_float16": ("ai_edge_litert",),
}
# Of the outputs' spread; quantised weights are less exact.
TOLERANCE = {"litert_dynamic": 0.2, "litert_float16": 2e-2}
SWIN = SwinConfig(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=2)


def model_config(name: str) -> ModelConfig:
    """A small network: a MaskFormer, the same with a Swin, or one of another family."""
    if name in FAMILIES:
        model = tiny_run.experiment(FAMILIES[name]).task.model
        return dataclasses.replace(model, num_classes=4)
    return small_config(**({"backbone": SWIN} if name == "swin" else {})).task.model


@pytest.mark.slow
@pytest.mark.parametrize("file_format", other_formats.FORMATS)
@pytest.mark.parametrize("name", ["maskformer", "swin", *FAMILIES])
def test_a_file_in_its_runtime_says_what_the_network_says(name, file_format, tmp_path):
    missing = [name for name in RUNTIMES[file_format] if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"The extra `exports` must be installed for this test. Missing: {missing}")
    # Not `small_network`: it stretches the few bits by which random queries differ, and with them what rounding adds.
    keras.utils.set_random_seed(0)
    network = MaskFormer(model_config(name))
    network.build()
    path = tmp_path / f"model{other_formats.suffix_of(file_format)}"
    other_formats.write(network, path, file_format, (64, 96))
    image = np.random.default_rng(0).normal(size=(1, 64, 96, 3)).astype(np.float32)
    expected = network(image, training=False)
    ours = other_formats.load(path)(image)
    for name in other_formats.OUTPUTS:
        wanted = np.asarray(expected[name])
        assert np.abs(ours[name] - wanted).max() <= TOLERANCE.get(file_format, 1e-3) * wanted.std()


def test_wrong_formats_and_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`file_format` must be one of"):
        other_formats.write(None, tmp_path / "model.onnx", "pmml", (64, 64))
    with pytest.raises(ValueError, match="must end in .tflite for litert_dynamic"):
        other_formats.write(None, tmp_path / "model.onnx", "litert_dynamic", (64, 64))
