"""The official modules as functions of a state dict: convolutions with their norms, attention, transformer layers."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

State = dict[str, torch.Tensor]
EPSILON = 1e-5


def convolve(state: State, name: str, inputs, *, stride: int = 1, padding: int = 0, dilation: int = 1):
    """A convolution with the bias or the norm that the state dict has for it: frozen batch norm, or 32 groups."""
    bias = state.get(f"{name}.bias")
    outputs = functional.conv2d(inputs, state[f"{name}.weight"], bias, stride, padding, dilation)
    if f"{name}.norm.running_mean" in state:
        variance = state[f"{name}.norm.running_var"]
        scale = state[f"{name}.norm.weight"] * (variance + EPSILON).rsqrt()
        shift = state[f"{name}.norm.bias"] - state[f"{name}.norm.running_mean"] * scale
        return outputs * scale[None, :, None, None] + shift[None, :, None, None]
    if f"{name}.norm.weight" in state:
        weight, bias = state[f"{name}.norm.weight"], state[f"{name}.norm.bias"]
        return functional.group_norm(outputs, 32, weight, bias, EPSILON)
    return outputs


def layer_norm(state: State, name: str, inputs):
    """Layer norm over the last axis."""
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return functional.layer_norm(inputs, weight.shape, weight, bias, EPSILON)


def linear(state: State, name: str, inputs):
    """A linear layer."""
    return functional.linear(inputs, state[f"{name}.weight"], state[f"{name}.bias"])


def attend(state: State, name: str, heads: int, query, key, value):
    """Multi-head attention; tokens are `[batch, length, dim]`."""
    dim = query.shape[-1]
    weights, biases = state[f"{name}.in_proj_weight"].chunk(3), state[f"{name}.in_proj_bias"].chunk(3)
    projected = [
        functional.linear(tokens, weight, bias).unflatten(-1, (heads, dim // heads)).transpose(1, 2)
        for tokens, weight, bias in zip((query, key, value), weights, biases, strict=True)
    ]
    scaled = projected[0] / math.sqrt(dim // heads)
    mixed = (scaled @ projected[1].transpose(2, 3)).softmax(-1) @ projected[2]
    return linear(state, f"{name}.out_proj", mixed.transpose(1, 2).flatten(2))


def _feed(state: State, name: str, tokens):
    return linear(state, f"{name}.linear2", linear(state, f"{name}.linear1", tokens).relu())


def _residual(state: State, norm: str, pre_norm: bool, tokens, sublayer):
    if pre_norm:
        return tokens + sublayer(layer_norm(state, norm, tokens))
    return layer_norm(state, norm, tokens + sublayer(tokens))


def encode(state: State, name: str, num_layers: int, heads: int, pre_norm: bool, tokens, position):
    """Encoder layers; pre-norm closes them with a norm of its own, even where there is no layer."""
    for index in range(num_layers):
        layer = f"{name}.layers.{index}"

        def attend_to_all(normed, layer=layer):
            query = normed + position
            return attend(state, f"{layer}.self_attn", heads, query, query, normed)

        tokens = _residual(state, f"{layer}.norm1", pre_norm, tokens, attend_to_all)
        tokens = _residual(state, f"{layer}.norm2", pre_norm, tokens, lambda t, layer=layer: _feed(state, layer, t))
    return layer_norm(state, f"{name}.norm", tokens) if pre_norm else tokens


def decode(state: State, name: str, num_layers: int, heads: int, pre_norm: bool, query_position, memory, position):
    """Decoder layers over queries that start as zeros; what leaves each of them, normed."""
    tokens = torch.zeros_like(query_position)
    outputs = []
    for index in range(num_layers):
        layer = f"{name}.layers.{index}"

        def attend_to_queries(normed, layer=layer):
            query = normed + query_position
            return attend(state, f"{layer}.self_attn", heads, query, query, normed)

        def attend_to_image(normed, layer=layer):
            query = normed + query_position
            return attend(state, f"{layer}.multihead_attn", heads, query, memory + position, memory)

        tokens = _residual(state, f"{layer}.norm1", pre_norm, tokens, attend_to_queries)
        tokens = _residual(state, f"{layer}.norm2", pre_norm, tokens, attend_to_image)
        tokens = _residual(state, f"{layer}.norm3", pre_norm, tokens, lambda t, layer=layer: _feed(state, layer, t))
        outputs.append(layer_norm(state, f"{name}.norm", tokens))
    return outputs


def sine_position(height: int, width: int, dim: int, like):
    """The 2-D sine embedding, `[height * width, dim]`: counted from 1, normalised to 2 pi, temperature 10000."""
    half = dim // 2
    index = torch.arange(half, dtype=like.dtype)
    periods = 10000 ** (2 * torch.div(index, 2, rounding_mode="floor") / half)

    def of_axis(length):
        angles = torch.arange(1, length + 1, dtype=like.dtype) / (length + 1e-6) * 2 * math.pi
        angles = angles[:, None] / periods
        return torch.stack((angles[:, 0::2].sin(), angles[:, 1::2].cos()), dim=2).flatten(1)

    rows, columns = of_axis(height), of_axis(width)
    both = (rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1))
    return torch.cat(both, dim=2).flatten(0, 1)
