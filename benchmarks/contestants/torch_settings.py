"""The settings in which a PyTorch network answers: as it is, in another order of memory, compiled, or in an engine."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

EAGER, CHANNELS_LAST, COMPILED, ONNX_RUNTIME, OPENVINO = SETTINGS = (
    "eager",
    "channels_last",
    "compiled",
    "onnxruntime",
    "openvino",
)
TRAINING_SETTINGS = (EAGER, CHANNELS_LAST, COMPILED)
# What is faster still where the processor multiplies bfloat16, and changes answers.
COMPILED_BFLOAT16, OPENVINO_BFLOAT16 = HALF_SETTINGS = ("compiled_bfloat16", "openvino_bfloat16")
NUM_THREADS = 2
_TOLERANCE = 1e-3  # Of the largest magnitude; engines merge layers and round otherwise.
_HALF_TOLERANCE = 0.2  # Mean difference, of the spread: weights are random, and rounding grows with each layer.


def prepare(network: Any, pixels: Any, setting: str, *, compares: bool = True) -> Callable[[Any], Sequence[Any]]:
    """Returns the network in a setting, as a function of pixels.

    Args:
        network: A `torch.nn.Module` in evaluation mode: `[1, 3, height, width]` float32 -> a tuple of tensors.
        pixels: An input, of the only size that engines are prepared for.
        setting: One of `SETTINGS` or `HALF_SETTINGS`.
        compares: Compare its outputs with those of the network as it is.

    Raises:
        ValueError: if the setting gives other outputs than the network as it is.
    """
    import numpy as np
    import torch

    if not compares:
        return _MAKERS[setting](network, pixels)
    with torch.inference_mode():
        expected = [value.numpy().copy() for value in network(pixels)]
    run = _MAKERS[setting](network, pixels)
    for name, (value, wanted) in enumerate(zip(run(pixels), expected, strict=True)):
        differences = np.abs(np.asarray(value) - wanted)
        is_half = setting in HALF_SETTINGS
        difference = differences.mean() / wanted.std() if is_half else differences.max() / np.abs(wanted).max()
        if not difference <= (_HALF_TOLERANCE if is_half else _TOLERANCE):
            raise ValueError(f"Output {name} with {setting} must be PyTorch's. Received: {difference:.1e} off")
    return run


def logits_of(model: Any) -> Any:
    """Returns a Hugging Face model as a function of pixels alone: class and mask logits."""
    from torch import nn

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pixels):
            outputs = self.model(pixels)
            return outputs.class_queries_logits, outputs.masks_queries_logits

    return Logits().eval()


def prepare_training(network: Any, pixels: Any, setting: str) -> tuple[Any, Any]:
    """Returns network and pixels in one of `TRAINING_SETTINGS`; its parameters stay the same objects.

    Args:
        network: A `torch.nn.Module` in training mode.
        pixels: `[batch, 3, height, width]` float32.
        setting: How it is to be trained.
    """
    import torch

    if setting == EAGER:
        return network, pixels
    network = network.to(memory_format=torch.channels_last)
    if setting == COMPILED:
        network = torch.compile(network)
    return network, pixels.contiguous(memory_format=torch.channels_last)


def name_of(setting: str) -> str:
    """Returns program, version and setting."""
    import torch

    torch_name = f"PyTorch {torch.__version__.partition('+')[0]}"
    if setting == ONNX_RUNTIME:
        import onnxruntime

        return f"ONNX Runtime {onnxruntime.__version__}"
    if setting in (OPENVINO, OPENVINO_BFLOAT16):
        import openvino

        return f"OpenVINO {openvino.__version__.partition('-')[0]}{', bfloat16' * (setting == OPENVINO_BFLOAT16)}"
    return f"{torch_name}, {setting}"


def _eager(network: Any, _: Any) -> Callable[[Any], Sequence[Any]]:
    import torch

    def run(pixels):
        with torch.inference_mode():
            return network(pixels)

    return run


def _channels_last(network: Any, _: Any) -> Callable[[Any], Sequence[Any]]:
    import torch

    network = network.to(memory_format=torch.channels_last)

    def run(pixels):
        with torch.inference_mode():
            return network(pixels.contiguous(memory_format=torch.channels_last))

    return run


def _compiled(network: Any, pixels: Any) -> Callable[[Any], Sequence[Any]]:
    import torch

    return _channels_last(torch.compile(network.to(memory_format=torch.channels_last)), pixels)


def _compiled_bfloat16(network: Any, pixels: Any) -> Callable[[Any], Sequence[Any]]:
    import torch

    compiled = _compiled(network, pixels)

    def run(pixels):
        with torch.autocast("cpu", torch.bfloat16):
            outputs = compiled(pixels)
        return [output.float() for output in outputs]

    return run


def _onnx_runtime(network: Any, pixels: Any) -> Callable[[Any], Sequence[Any]]:
    import onnxruntime
    import torch

    file = io.BytesIO()
    with _silent():
        # ONNX Runtime has no operation of opset 20 that samples at points.
        torch.onnx.export(network, (pixels,), file, input_names=["pixels"], opset_version=17, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = NUM_THREADS, 1
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixels": pixels.numpy()})


def _openvino(network: Any, pixels: Any, precision: str = "f32") -> Callable[[Any], Sequence[Any]]:
    import openvino

    with _silent():
        model = openvino.convert_model(network, example_input=pixels, input=[list(pixels.shape)])
    # The hint keeps float32, which it would give up where a processor has bfloat16.
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": NUM_THREADS, **hints})
    return lambda pixels: list(compiled(pixels.numpy()).values())


@contextlib.contextmanager
def _silent():
    """Tracing warns of every shape that it takes for a constant, which it is here."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)


_MAKERS: dict[str, Callable[[Any, Any], Callable[[Any], Sequence[Any]]]] = {
    EAGER: _eager,
    CHANNELS_LAST: _channels_last,
    COMPILED: _compiled,
    ONNX_RUNTIME: _onnx_runtime,
    OPENVINO: _openvino,
    COMPILED_BFLOAT16: _compiled_bfloat16,
    OPENVINO_BFLOAT16: functools.partial(_openvino, precision="bf16"),
}
