"""Mask2Former on CamVid: data, backbone, optimizer and answers of `camvid_small`, and its own decoders and losses.

For comparing the two heads in the same minutes.
"""

import dataclasses

from maskformer_model.config import ExperimentConfig
from maskformer_model.experiments.laptop import camvid_small, mask2former_small


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    base, heads = camvid_small.experiment(), mask2former_small.experiment().task
    model = dataclasses.replace(base.task.model, pixel_decoder=heads.model.pixel_decoder, decoder=heads.model.decoder)
    return dataclasses.replace(base, task=dataclasses.replace(base.task, model=model, losses=heads.losses))
