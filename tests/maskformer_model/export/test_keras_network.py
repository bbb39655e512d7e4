"""An exported model's network, rebuilt from its assets and its weights."""

import numpy as np
import pytest

from maskformer_model.export.keras_network import load_network
from maskformer_model.pretrained.initialize import save_converted
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


def test_the_folder_of_a_training_or_a_conversion_is_enough(exported, tmp_path):
    _, network = exported
    save_converted(network, small_config(), str(tmp_path), CATEGORIES)
    again, config, categories = load_network(tmp_path)
    assert (config, categories) == (small_config(), CATEGORIES)
    for ours, theirs in zip(again.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
