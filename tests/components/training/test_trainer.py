"""Tests of `components.training.trainer`; the end-to-end test of the pipeline runs it for real."""

import json
import types

import pytest
import tensorflow as tf

from components.training import trainer
from components.training.trainer import CHECKPOINTS_KEY, copy_tree, run_fn, stable_training_dir


@pytest.mark.parametrize("custom_config", [None, {}, {"other": 1}])
def test_a_trainer_without_an_experiment_is_refused(custom_config):
    fn_args = types.SimpleNamespace(custom_config=custom_config)
    with pytest.raises(KeyError, match="`custom_config` must hold 'experiment'. Received"):
        run_fn(fn_args)


def test_a_training_has_one_folder_by_configuration_and_data_wherever_they_are(tmp_path):
    config = {"experiment": "{}", "source_sha256": "1", CHECKPOINTS_KEY: "/checkpoints"}

    def folder(place, content=b"record", name="data-00000-of-00001", **changes):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / name).write_bytes(content)
        return stable_training_dir(config | changes, [str(tmp_path / place / "*")])

    first = folder("a")
    assert first.startswith("/checkpoints/")
    assert folder("b") == first
    assert folder("b", **{CHECKPOINTS_KEY: "/other"}) == first.replace("checkpoints", "other")
    others = {
        folder("b", source_sha256="2"),
        folder("b", experiment="{1}"),
        folder("b", b"other"),
        folder("c", name="data-00000-of-00002"),
    }
    assert len(others | {first}) == 5
    assert folder("b", **{CHECKPOINTS_KEY: ""}) == ""


def test_records_whose_hashes_were_noted_beside_them_are_not_read(tmp_path):
    def folder(place, digests):
        files = tmp_path / place / "Split-train"
        files.mkdir(parents=True)
        for name in ("data-00000-of-00002", "data-00001-of-00002"):
            (files / name).mkdir()  # What cannot be read.
        (tmp_path / place / "record_digests.json").write_text(json.dumps(digests))
        return stable_training_dir({CHECKPOINTS_KEY: "/checkpoints"}, [str(files / "*")])

    noted = {"Split-train/data-00000-of-00002": "1", "Split-train/data-00001-of-00002": "2"}
    first = folder("a", noted)
    assert folder("b", noted | {"Split-eval/data-00000-of-00001": "3"}) == first
    assert folder("c", noted | {"Split-train/data-00001-of-00002": "4"}) != first
    with pytest.raises(tf.errors.FailedPreconditionError, match="data-00001-of-00002"):
        folder("d", {"Split-train/data-00000-of-00002": "1"})


def test_a_copied_folder_holds_everything_and_replaces_what_an_unfinished_copy_left(tmp_path):
    (tmp_path / "from" / "inner").mkdir(parents=True)
    (tmp_path / "from" / "a").write_text("1")
    (tmp_path / "from" / "inner" / "b").write_text("2")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "a").write_text("cut o")
    copy_tree(str(tmp_path / "from"), str(tmp_path / "to"))
    assert (tmp_path / "to" / "a").read_text() == "1"
    assert (tmp_path / "to" / "inner" / "b").read_text() == "2"


@pytest.mark.slow
def test_a_training_that_was_cut_off_goes_on_from_its_own_checkpoints(tmp_path, monkeypatch):
    from components.coco_example_gen.conversion.conversion_job import ConversionJob, convert
    from components.coco_example_gen.options import IngestOptions
    from components.coco_example_gen.sources import sources_of
    from maskformer_model import config, experiments
    from maskformer_model.export import saved_model
    from maskformer_model.scenes.data_set import write_data_set

    write_data_set(tmp_path / "data", num_train=4, num_val=1)
    (tmp_path / "records").mkdir()
    source = sources_of(str(tmp_path / "data"), IngestOptions())["train"]
    convert(ConversionJob(source=source, output_prefix=str(tmp_path / "records" / "train"), num_shards=1))
    settings = (
        "task.model.num_queries=8,task.model.num_decoder_layers=1,task.model.which_pixel_decoder=fpn,"
        "task.model.hidden_dim=32,task.model.pixel_decoder_dim=32,task.model.mask_dim=32,"
        "task.train_data.global_batch_size=2,trainer.train_steps=2,trainer.steps_per_loop=1,"
        "trainer.checkpoint_interval=1,trainer.optimizer.drop_steps=[]"
    )
    experiment = config.override(experiments.get("generated_scenes"), settings)

    def train(execution):
        fn_args = types.SimpleNamespace(
            custom_config={
                "experiment": json.dumps(config.to_dict(experiment)),
                CHECKPOINTS_KEY: str(tmp_path / "checkpoints"),
            },
            hyperparameters=None,
            train_files=[str(tmp_path / "records" / "train-*")],
            eval_files=[],
            transform_graph_path=None,
            base_model=None,
            model_run_dir=str(tmp_path / execution / "model_run"),
            serving_model_dir=str(tmp_path / execution / "serving"),
        )
        run_fn(fn_args)

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    # The export has tests of its own and takes longer than this training.
    monkeypatch.setattr(saved_model, "export_saved_model", full_disk)
    with pytest.raises(OSError, match="No space"):
        train("first")
    [folder] = (tmp_path / "checkpoints").iterdir()
    trained = (folder / "training_history.json").read_text()
    exported = []
    monkeypatch.setattr(saved_model, "export_saved_model", lambda *arguments, **_: exported.append(arguments[3]))
    train("second")
    assert exported == [str(tmp_path / "second" / "serving")]
    # Curves hold the seconds of each step: they are the first run's, so nothing was trained again.
    assert (tmp_path / "second" / "model_run" / "training_history.json").read_text() == trained
    assert (tmp_path / "second" / "model_run" / "model.weights.h5").is_file()
    assert not folder.exists()


def test_a_training_that_was_given_gpus_and_sees_none_stops_and_says_how_to_build_the_image(monkeypatch):
    trainer.require_gpus(0)
    seen = len(tf.config.list_physical_devices("GPU"))
    trainer.require_gpus(seen)
    with pytest.raises(RuntimeError, match=rf"the {seen + 1} GPUs .* ACCELERATOR=cuda.* Received: {seen}"):
        trainer.require_gpus(seen + 1)
    monkeypatch.setenv(trainer.GPUS_VARIABLE, str(seen + 1))
    with pytest.raises(RuntimeError, match="that the Trainer's node asks for"):
        trainer.run_fn(types.SimpleNamespace(custom_config={trainer.EXPERIMENT_KEY: "{}"}))
