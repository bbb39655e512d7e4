"""Candidates that can serve and candidates that cannot, asked in a process of their own."""

from __future__ import annotations

import os

import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components.infra_validator import check_model, component
from tests.components import brightness_model


class WrongAreas(brightness_model.BrightnessModel):
    """Says that every segment is one pixel larger than it is."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(self, image_bytes):
        answer = super().serve(image_bytes)
        return answer | {"areas": tf.where(answer["segment_ids"] > 0, answer["areas"] + 1, 0)}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return brightness_model.save_model(tmp_path_factory.mktemp("model") / "Format-Serving")


@pytest.fixture(scope="module")
def photos():
    return [brightness_model.scene(number).image_encoded for number in range(3)]


def test_a_model_that_answers_passes(model_dir, photos):
    check_model.check(str(model_dir), photos)


def test_a_model_whose_segments_are_not_those_of_its_map_does_not(tmp_path, photos):
    model = WrongAreas(128)
    tf.saved_model.save(model, str(tmp_path), signatures={"serving_default": model.serve})
    with pytest.raises(ValueError, match="Photo 0: segments and their areas must be those of the map"):
        check_model.check(str(tmp_path), photos)


def test_scores_beyond_one_do_not_pass(tmp_path, photos):
    with pytest.raises(ValueError, match="scores must be in 0..1"):
        check_model.check(str(brightness_model.save_model(tmp_path / "model", score=1.5)), photos)


def test_a_process_of_its_own_says_why_not(model_dir, photos, tmp_path):
    assert component.why_not(str(model_dir), photos[:1], timeout_s=300) == ""
    assert "saved_model" in component.why_not(str(tmp_path / "absent"), photos[:1], timeout_s=300)
    late = component.why_not(str(model_dir), photos[:1], timeout_s=0.2)
    assert late == "It did not answer 1 photos within 0.2 s."


@pytest.mark.parametrize("is_good", [True, False])
def test_the_component_blesses_as_tfx_s_own_does(model_dir, tmp_path, is_good):
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(tmp_path / "examples"), '["eval"]'
    records = [brightness_model.scene(number) for number in range(2)]
    brightness_model.write_examples(tmp_path / "examples", records, num_shards=1)
    model = standard_artifacts.Model()
    model.uri = str(model_dir.parent if is_good else tmp_path / "empty")
    (tmp_path / "empty" / "Format-Serving").mkdir(parents=True)
    blessing = standard_artifacts.InfraBlessing()
    blessing.uri = str(tmp_path / "blessing")
    component.InfraValidator.EXECUTOR_SPEC.executor_class().Do(
        {"model": [model], "examples": [examples]},
        {"blessing": [blessing]},
        {"split": "eval", "num_photos": 2, "timeout_s": 300},
    )
    assert blessing.get_int_custom_property("blessed") == int(is_good)
    assert os.listdir(blessing.uri) == ["INFRA_BLESSED" if is_good else "INFRA_NOT_BLESSED"]
    assert bool(blessing.get_string_custom_property("reason")) != is_good
