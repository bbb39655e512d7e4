"""Checkpoints as they lie on disks of others: wrapped, in parts, cut off, or something else."""

from __future__ import annotations

import json

import numpy as np
import pytest

from maskformer_model import convert_checkpoint
from maskformer_model.pretrained import initialize
from maskformer_model.pretrained.architecture import infer_model_config
from maskformer_model.pretrained.maskformer_names import official_weights
from maskformer_model.pretrained.sources import read_checkpoint
from tests.maskformer_model.helpers.safetensors_file import write_safetensors

GOLDEN = "tiny_swin_fpn"


@pytest.fixture(scope="module")
def arrays(project_dir):
    return read_checkpoint(str(project_dir / "tests" / "golden" / GOLDEN / "weights.npz")).arrays


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "model.net.", "network."])
def test_prefixes_of_wrappers_are_taken_off(tmp_path, arrays, prefix):
    write_safetensors(tmp_path / "a.safetensors", {f"{prefix}{name}": array for name, array in arrays.items()})
    read = read_checkpoint(str(tmp_path / "a.safetensors")).arrays
    assert read.keys() == arrays.keys()


def test_what_a_lightning_module_holds_beside_the_network_is_named(tmp_path, arrays):
    wrapped = {f"model.{name}": array for name, array in arrays.items()} | {"metric.total": np.zeros(1, np.float32)}
    write_safetensors(tmp_path / "a.safetensors", wrapped)
    assert read_checkpoint(str(tmp_path / "a.safetensors")).arrays.keys() == arrays.keys() | {"metric.total"}


def folder_of_parts(tmp_path, names=("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")):
    weights = {"layer1.0.conv1.weight": np.ones((2, 2, 1, 1), np.float32), "bn1.bias": np.ones(2, np.float32)}
    (tmp_path / "config.json").write_text('{"model_type": "maskformer"}')
    parts = dict(zip(weights, names, strict=True))
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    return weights, parts


def test_a_model_in_parts_is_read_as_its_index_says(tmp_path):
    weights, parts = folder_of_parts(tmp_path)
    for name, part in parts.items():
        write_safetensors(tmp_path / part, {name: weights[name]})
    write_safetensors(tmp_path / "model-old.safetensors", {"stray": np.ones(1, np.float32)})
    assert read_checkpoint(str(tmp_path)).arrays.keys() == {
        "backbone.res2.0.conv1.weight",
        "backbone.stem.conv1.norm.bias",
    }


def test_a_missing_part_is_named(tmp_path):
    weights, parts = folder_of_parts(tmp_path)
    write_safetensors(tmp_path / parts["bn1.bias"], {"bn1.bias": weights["bn1.bias"]})
    with pytest.raises(FileNotFoundError, match="lacks model-00001-of-00002.safetensors of the 2 files"):
        read_checkpoint(str(tmp_path))


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd"])
def test_an_index_names_files_of_its_own_folder(tmp_path, name):
    folder_of_parts(tmp_path, (name, "model-00002-of-00002.safetensors"))
    with pytest.raises(ValueError, match="must name files of its own folder"):
        read_checkpoint(str(tmp_path))


@pytest.mark.parametrize("suffix", [".pkl", ".npz", ".safetensors", ".pth", ".pt", ".bin", ".ckpt"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\nsize 7\n", "git lfs pull"),
        (b"<html>", "is a web page"),
        (b"", "is empty"),
        (b"PK\x03\x04" + b"\0" * 60, "cut off"),
        (b"\x00\xff" * 20, "cut off"),
    ],
)
def test_something_else_under_the_name_of_a_checkpoint_is_said_with_its_path(tmp_path, capsys, suffix, content, reason):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    assert convert_checkpoint.main(["--source", str(path), "--output", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert reason in error and str(path) in error and "Traceback" not in error


def test_a_path_without_a_file_and_settings_that_are_none_are_said(tmp_path, capsys):
    arguments = ["--output", str(tmp_path / "out"), "--source"]
    assert convert_checkpoint.main([*arguments, str(tmp_path / "none")]) == 1
    assert f"There is no checkpoint at {tmp_path / 'none'}" in capsys.readouterr().err
    for content in (b"[1]", b"{", b"\xff"):
        (tmp_path / "config.json").write_bytes(content)
        assert convert_checkpoint.main([*arguments, str(tmp_path)]) == 1
        assert str(tmp_path / "config.json") in capsys.readouterr().err


def test_a_model_without_heads_starts_a_training_and_is_not_converted(tmp_path, project_dir, arrays, capsys, caplog):
    heads = ("sem_seg_head.predictor.class_embed.", "sem_seg_head.predictor.mask_embed.")
    write_safetensors(
        tmp_path / "base.safetensors", {name: array for name, array in arrays.items() if not name.startswith(heads)}
    )
    source = str(tmp_path / "base.safetensors")
    assert convert_checkpoint.main(["--source", source, "--output", str(tmp_path / "out")]) == 1
    assert "without the heads of classes and masks" in capsys.readouterr().err
    checkpoint = read_checkpoint(str(project_dir / "tests" / "golden" / GOLDEN))
    network = initialize.build_network(infer_model_config(checkpoint.arrays, checkpoint.settings))
    before = np.array(network.predictor.class_head.weights[0])
    initialize.initialize(network, source, "all", remakes_class_head=True)
    assert "has no heads" in caplog.text
    np.testing.assert_array_equal(before, np.array(network.predictor.class_head.weights[0]))
    name = "sem_seg_head.predictor.query_embed.weight"
    [queries] = [weight for weight in official_weights(network) if weight.name == name]
    np.testing.assert_array_equal(queries.read(), arrays[name])
