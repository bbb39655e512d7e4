"""The stages of a forward pass that both sides time, in order."""

STAGES = (
    "backbone",
    "encoder, six layers",
    "FPN and mask features",
    "decoder, six layers, and heads",
    "mask product",
)
