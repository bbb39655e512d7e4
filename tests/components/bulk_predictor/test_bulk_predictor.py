"""Bulk prediction: every photo once, bad ones with a reason, and what is done is not done again."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from components.bulk_predictor import __main__ as program
from components.bulk_predictor import plan
from maskformer_model import command_errors
from maskformer_model.data.panoptic_png import decode_panoptic_png
from tests.components import brightness_model


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return brightness_model.save_model(tmp_path_factory.mktemp("model") / "7")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.png").write_bytes(brightness_model.scene(number).image_encoded)
    (folder / "3.png").write_bytes(b"no photo")
    return folder


def command(model_dir, photos, output, *more):
    return ["--model", str(model_dir), "--images", str(photos), "--output", str(output), *more]


def read(output):
    """`{file name: features}` of all shards, in order."""
    found = {}
    for path in sorted(output.glob("*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            name = os.path.basename(features["image/filename"].bytes_list.value[0].decode())
            assert name not in found
            found[name] = {key: feature.bytes_list.value[0] for key, feature in features.items()}
    return found


def test_every_photo_is_predicted_once_and_a_bad_one_has_its_reason(model_dir, photos, tmp_path, capsys):
    output = tmp_path / "out"
    assert program.main(command(model_dir.parent, photos, output, "--photos_per_shard", "2")) == 0
    assert "5 photos predicted" in capsys.readouterr().out
    found = read(output)
    assert list(found) == [f"{number}.png" for number in range(5)]
    assert "error" in found["3.png"] and "prediction/panoptic/encoded" not in found["3.png"]
    ids = decode_panoptic_png(found["4.png"]["prediction/panoptic/encoded"])
    assert (ids == 300).sum() == 100
    [ground, disc] = json.loads(found["4.png"]["prediction/segments"])
    assert (ground["category_id"], disc["category_id"], disc["area"]) == (7, 3, 100)
    assert json.loads((output / "summary.json").read_text()) == {"photos": 5, "refused": 1}
    assert len(list(output.glob("*.tfrecord"))) == 3


def test_what_is_done_is_not_done_again(model_dir, photos, tmp_path, capsys):
    output = tmp_path / "out"
    program.main(command(model_dir, photos, output, "--photos_per_shard", "2"))
    first, second, third = sorted(output.glob("*.tfrecord"))
    before = {path: path.stat().st_mtime_ns for path in (first, third)}
    second.unlink()  # As if the run had been cut off there.
    capsys.readouterr()
    assert program.main(command(model_dir, photos, output, "--photos_per_shard", "2")) == 0
    assert "5 photos in 3 shards, 1 to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert list(read(output)) == [f"{number}.png" for number in range(5)]


def test_another_model_or_list_is_not_mixed_in(model_dir, photos, tmp_path, capsys):
    output = tmp_path / "out"
    program.main(command(model_dir, photos, output))
    other = brightness_model.save_model(tmp_path / "other", threshold=200)
    assert program.main(command(other, photos, output)) == command_errors.EXIT_USAGE
    assert "differs in ['model_sha256']" in capsys.readouterr().err
    (photos / "0.png").unlink()
    assert program.main(command(model_dir, photos, output)) == command_errors.EXIT_USAGE
    assert "differs in ['num_photos', 'photos_sha256']" in capsys.readouterr().err


def test_a_list_is_cut_into_shards_that_find_their_lines(tmp_path):
    names = [f"/photos/ä {number}.jpg" for number in range(7)]
    shards = plan.make_plan(str(tmp_path), iter(names), 3, "hash")
    assert [shard.num_photos for shard in shards] == [3, 3, 1]
    assert [name for shard in shards for name in plan.photos_of(str(tmp_path), shard)] == names
    assert plan.make_plan(str(tmp_path), names, 3, "hash") == shards
    (tmp_path / f"{shards[1].stem}.tfrecord").touch()
    assert plan.open_shards(str(tmp_path), shards) == [shards[0], shards[2]]


@pytest.mark.parametrize(("names", "message"), [([], "at least one photo"), (["a\nb"], "must be one line")])
def test_a_list_that_cannot_be_cut_is_refused(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        plan.make_plan(str(tmp_path), names, 3, "hash")


def test_help_imports_nothing_heavy(project_dir):
    arguments = [sys.executable, "-X", "importtime", "-m", "components.bulk_predictor", "--help"]
    done = subprocess.run(arguments, check=True, cwd=project_dir, capture_output=True, text=True)
    assert "tensorflow" not in done.stderr and "apache_beam" not in done.stderr
