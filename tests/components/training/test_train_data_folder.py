"""`maskformer train --data DIR` makes records of the folder once, and starts from a checkpoint."""

import json
import os
import shutil

import pytest

from components.coco_example_gen.options import IngestOptions
from components.training import train_data_folder
from maskformer_model import experiments, train
from maskformer_model.config import merge, to_dict
from maskformer_model.scenes import data_set


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    data_set.write_data_set(str(folder), num_train=6, num_val=2, seed=0)
    return str(folder)


def test_records_are_made_once_as_long_as_folder_and_options_stay(data_dir, tmp_path, capsys):
    records = str(tmp_path / "records")
    assert train_data_folder.convert_folder(data_dir, records, IngestOptions()) == records
    assert "train: 6 photos" in (lines := capsys.readouterr().err)
    assert "eval: 2 photos" in lines
    written = sorted(os.listdir(records))
    assert {"categories.json", "source.json", "train-00000-of-00001.tfrecord", "val-00000-of-00001.tfrecord"} <= set(
        written
    )
    train_data_folder.convert_folder(data_dir, records, IngestOptions())
    assert capsys.readouterr().err == ""
    train_data_folder.convert_folder(data_dir, records, IngestOptions(eval_share=0.5))
    lines = capsys.readouterr().err
    counts = [int(line.split()[1]) for line in lines.splitlines()]
    assert sum(counts) == 6 and min(counts) > 0
    shutil.rmtree(records)


def test_a_fine_tuning_takes_its_network_from_one_folder_and_its_records_from_another(tmp_path, capsys):
    config = merge(experiments.get("mask2former_small"), {"task": {"model": {"num_classes": 7, "num_queries": 9}}})
    (tmp_path / "experiment.json").write_text(json.dumps(to_dict(config)))
    arguments = ["--init", str(tmp_path), "--data", "photos", "--params_override", "trainer.train_steps=2"]
    options = train_data_folder.parse_args(arguments)
    assert (options.mode, options.data) == ("train_and_eval", "photos")
    read = train.read_config(options, {train.RECORDS_VARIABLE: "/records"})
    assert (read.task.model.num_queries, read.task.model.num_classes) == (9, 0)
    assert read.task.model.decoder.type == "masked_attention"
    assert (read.task.init_checkpoint, read.trainer.train_steps) == (str(tmp_path), 2)
    assert read.task.train_data.input_path == "/records/train*.tfrecord*"
    assert capsys.readouterr().err.startswith(f"Photos of {read.task.inference.max_size_px} px in batches of ")
