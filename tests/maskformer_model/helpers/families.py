"""A tiny network of each family beside MaskFormer, as overrides of an experiment whose photos are whole patches."""

from __future__ import annotations

_MODEL = "task.model."
_LOSSES = "task.losses.pixel_loss=cross_entropy,task.losses.mask_loss=points,task.losses.num_points=256"
MASK2FORMER = (
    f"{_MODEL}backbone.type=resnet,{_MODEL}backbone.stage_blocks=[1,1,1,1],{_MODEL}backbone.stem_channels=8,"
    f"{_MODEL}backbone.res2_channels=16,{_MODEL}backbone.bottleneck_channels=4,{_MODEL}mask_dim=32,"
    f"{_MODEL}num_queries=8,{_MODEL}pixel_decoder.type=deformable,{_MODEL}pixel_decoder.hidden_dim=32,"
    f"{_MODEL}pixel_decoder.encoder_layers=1,{_MODEL}pixel_decoder.num_heads=2,{_MODEL}pixel_decoder.num_points=2,"
    f"{_MODEL}pixel_decoder.feedforward_dim=32,{_MODEL}pixel_decoder.dropout=0.1,{_MODEL}decoder.type=masked_attention,"
    f"{_MODEL}decoder.hidden_dim=32,{_MODEL}decoder.num_layers=3,{_MODEL}decoder.num_heads=2,"
    f"{_MODEL}decoder.feedforward_dim=32,{_MODEL}decoder.pooled_features=[res4,res5],"
    f"{_MODEL}decoder.pooled_dropout=0.1,{_LOSSES},task.init_checkpoint="
)
# The first block gives up its masks between two steps, the last one at once.
EOMT = (
    f"{_MODEL}backbone.type=vit,{_MODEL}backbone.embed_dim=32,{_MODEL}backbone.depth=1,{_MODEL}backbone.num_heads=2,"
    f"{_MODEL}backbone.mlp_dim=64,{_MODEL}backbone.layer_scale=1,{_MODEL}backbone.image_size_px=[64,64],"
    f"{_MODEL}mask_dim=32,{_MODEL}num_queries=8,{_MODEL}pixel_decoder.type=none,{_MODEL}decoder.type=eomt,"
    f"{_MODEL}decoder.num_blocks=2,{_MODEL}decoder.mask_annealing_starts=[0,3],"
    f"{_MODEL}decoder.mask_annealing_ends=[5,3],{_LOSSES},task.losses.mask_normalizer=pairs,task.init_checkpoint=,"
    "task.inference.pads_with_black=true"
)
FAMILIES = {"mask2former": MASK2FORMER, "eomt": EOMT}
