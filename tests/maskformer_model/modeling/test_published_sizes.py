"""Every published model has its published number of parameters. Nothing is allocated: shapes are enough to count."""

import keras
import numpy as np
import pytest

from maskformer_model import experiments
from maskformer_model.modeling.maskformer import MaskFormer

# Trainable parameters as measured on the official code, in millions (batch norms are frozen and counted apart).
PUBLISHED_MILLIONS = {
    "maskformer_coco_panoptic": "45.01",
    "coco_panoptic_r101": "63.95",
    "coco_panoptic_swin_tiny": "41.75",
    "coco_panoptic_swin_small": "63.07",
    "coco_panoptic_swin_base": "101.8",
    "coco_panoptic_swin_large": "211.6",
    "ade20k_semantic_r50": "41.25",
    "ade20k_semantic_r101c": "60.32",
    "mask2former_coco_panoptic_r50": "43.98",
    "mask2former_coco_panoptic_r101": "62.92",
    "mask2former_coco_panoptic_swin_tiny": "47.44",
    "mask2former_coco_panoptic_swin_small": "68.75",
    "mask2former_coco_panoptic_swin_base": "106.92",
    "mask2former_coco_panoptic_swin_large": "215.54",
    "eomt_coco_panoptic_small_640": "23.98",
    "eomt_coco_panoptic_base_640": "93.66",
    "eomt_coco_panoptic_large_640": "316.70",
    "eomt_coco_panoptic_giant_640": "1163.6",
}
FROZEN = {"maskformer_coco_panoptic": 106_240, "mask2former_coco_panoptic_r50": 106_240}


@pytest.fixture(scope="module")
def count():
    def parameters(config):
        # Within the scope a variable has a shape and no value, and on leaving it none is given one.
        with keras.StatelessScope(initialize_variables=False):
            network = MaskFormer(config)
            network.build()
        kinds = (network.trainable_weights, network.non_trainable_weights)
        return tuple(sum(int(np.prod(weight.shape)) for weight in kind) for kind in kinds)

    yield parameters
    # Else Keras would give those variables values at the next occasion. Once: it collects garbage, for seconds.
    keras.utils.clear_session()


@pytest.mark.parametrize("name", PUBLISHED_MILLIONS)
def test_a_published_model_has_its_published_size(count, name):
    trainable, frozen = count(experiments.get(name).task.model)
    published = PUBLISHED_MILLIONS[name]
    assert f"{trainable / 1e6:.{len(published.partition('.')[2])}f}" == published
    assert frozen == FROZEN.get(name, frozen)
    # An EoMT's mask probabilities, one for each block with queries, are no weights that are trained.
    assert (frozen > 0) == ("_r" in name or name == "maskformer_coco_panoptic" or name.startswith("eomt_"))


def test_an_ade20k_model_differs_from_coco_s_by_its_classes_alone(count):
    coco, _ = count(experiments.get("maskformer_coco_panoptic").task.model)
    ade20k, _ = count(experiments.get("ade20k_panoptic_r50").task.model)
    assert ade20k - coco == (150 - 133) * (256 + 1)
