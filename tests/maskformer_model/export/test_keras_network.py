"""An exported model's network, rebuilt from its assets and its weights."""

import numpy as np
import pytest

from maskformer_model.export.keras_network import load_network
from tests.maskformer_model.helpers.small_export import CATEGORIES, small_config


def test_the_network_behind_an_export_comes_back_with_config_and_categories(exported, tmp_path):
    directory, network = exported
    network.save_weights(tmp_path / "model.weights.h5")
    again, config, categories = load_network(directory.parent, tmp_path / "model.weights.h5")
    assert config == small_config()
    assert categories == CATEGORIES
    for ours, theirs in zip(again.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_that_are_not_there_are_named(exported, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.weights\.h5"):
        load_network(exported[0], tmp_path / "none.weights.h5")
