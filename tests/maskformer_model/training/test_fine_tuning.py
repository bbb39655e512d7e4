"""A fine-tuning takes its network from a checkpoint and its sizes from the machine."""

import json

import pytest

from maskformer_model import experiments
from maskformer_model.config import differing_settings, merge, to_dict
from maskformer_model.config.training_length import without_steps
from maskformer_model.training import fine_tuning
from maskformer_model.training.fine_tuning import fine_tuned, fit_of, started_from

GB = 10**9
R50_BYTES = 180_000_000


def write_checkpoint(folder, name, **model):
    config = merge(experiments.get(name), {"task": {"model": {"num_classes": 7, **model}}})
    folder.mkdir(exist_ok=True)
    (folder / "experiment.json").write_text(json.dumps(to_dict(config)))
    return str(folder)


def test_network_and_losses_are_the_checkpoint_s_and_the_classes_the_data_s(tmp_path):
    folder = write_checkpoint(tmp_path, "mask2former_coco_panoptic_r50", num_queries=33)
    coco_small = experiments.get("coco_small")
    config = started_from(coco_small, folder)
    origin = experiments.get("mask2former_coco_panoptic_r50").task
    assert (config.task.model.num_queries, config.task.model.num_classes) == (33, 0)
    assert config.task.model.decoder == origin.model.decoder
    assert (config.task.losses, config.task.inference.pixel_threshold) == (origin.losses, 0.5)
    assert (config.task.init_checkpoint, config.task.init_checkpoint_modules) == (folder, "all")
    assert config.trainer == coco_small.trainer
    assert config.task.train_data == coco_small.task.train_data


def test_without_an_experiment_it_is_the_checkpoint_s_own_without_its_data(tmp_path):
    folder = write_checkpoint(tmp_path, "coco_panoptic_swin_tiny")
    path = tmp_path / "experiment.json"
    path.write_text(path.read_text().replace('"input_path": ""', '"input_path": "/elsewhere"'))
    changed = differing_settings(started_from(None, folder), experiments.get("coco_panoptic_swin_tiny"))
    assert set(changed) == {"task.model.num_classes", "task.init_checkpoint", "task.init_checkpoint_modules"}


def test_a_folder_without_an_experiment_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="`--init` must be a folder with experiment.json"):
        started_from(None, str(tmp_path))


@pytest.mark.parametrize(
    ("name", "free_gb", "has_accelerator", "expected"),
    [
        # 2 GB + 4 x 0.18 GB + 2,500 bytes x photos x px^2, within 0.8 of what is free.
        ("maskformer_coco_panoptic", 16, False, (512, 4)),  # 5.34 of 12.8; more would be slow on processors.
        ("maskformer_coco_panoptic", 5, False, (384, 2)),  # 3.46 of 4.0; two of 512 px would be 4.03.
        ("maskformer_coco_panoptic", 24, True, (800, 8)),  # 15.5 of 19.2; 16 photos would be 28.3.
        ("maskformer_coco_panoptic", 80, True, (800, 16)),  # 28.3 of 64.
        ("mask2former_coco_panoptic_r50", 24, False, (512, 4)),  # 6,500 bytes: 9.5 of 19.2.
        ("mask2former_coco_panoptic_r50", 10, False, (512, 2)),  # 6.1 of 8; four would be 9.5.
        ("eomt_coco_panoptic_small_640", 16, False, (512, 2)),  # 15,500 bytes: 10.8 of 12.8, four would be 19.0.
    ],
)
def test_photos_and_batches_fit_the_memory(name, free_gb, has_accelerator, expected):
    fit = fit_of(experiments.get(name), R50_BYTES, free_gb * GB, has_accelerator)
    assert (fit.size_px, fit.batch_size) == expected
    assert fit.needed_bytes <= 0.8 * free_gb * GB


def test_a_machine_that_is_too_small_gets_the_smallest_and_a_warning():
    fit = fit_of(experiments.get("maskformer_coco_panoptic"), R50_BYTES, 2 * GB, has_accelerator=False)
    assert (fit.size_px, fit.batch_size) == (256, 1)
    assert "may not be enough" in fit.describe()


def test_a_small_experiment_keeps_its_own_sizes():
    fit = fit_of(experiments.get("generated_scenes"), 16_000_000, 16 * GB, has_accelerator=False)
    config = experiments.get("generated_scenes")
    assert fit.size_px == config.task.inference.shortest_edge_px
    assert fit.batch_size == min(4, config.task.train_data.global_batch_size)


def test_every_published_recipe_becomes_a_fine_tuning_with_one_shape_of_batches():
    for name in experiments.names():
        config = experiments.get(name)
        fit = fit_of(config, R50_BYTES, 16 * GB, has_accelerator=False)
        tuned = fine_tuned(config, fit)
        data = tuned.task.train_data
        assert data.parser.output_size == (fit.size_px, fit.size_px), name
        assert (data.global_batch_size, data.group_size) == (fit.batch_size, 0), name
        assert tuned.task.inference.max_size_px == fit.size_px, name
        assert tuned.trainer.train_steps == fine_tuning.TRAIN_STEPS
        assert without_steps(tuned.task.model) == without_steps(config.task.model)


def test_an_eomt_gives_up_its_masks_in_time_and_answers_for_squares_of_the_new_size(tmp_path):
    name = "eomt_coco_panoptic_large_1280"
    folder = write_checkpoint(tmp_path, name)
    ends = (0.333, 0.583, 0.833)  # Of the 88,692 steps: 29,564, 51,737 and 73,910; so with four and five blocks.
    own = experiments.get(name)
    for base in (None, experiments.get("coco_small")):
        config = started_from(base, folder)
        tuned = fine_tuned(config, fit_of(config, R50_BYTES, 16 * GB, has_accelerator=False))
        for steps, total in ((config, config.trainer.train_steps), (tuned, 1000)):
            shares = [step / total for step in steps.task.model.decoder.mask_annealing_ends]
            assert (shares[0], shares[-1]) == pytest.approx((ends[0], ends[-1]), abs=0.005)
        size_px = tuned.task.inference.shortest_edge_px
        assert tuned.task.inference.size_divisibility == size_px < own.task.inference.size_divisibility
    windows = experiments.get("eomt_ade20k_semantic_large_512")
    tuned = fine_tuned(windows, fit_of(windows, R50_BYTES, 8 * GB, has_accelerator=False)).task.inference
    assert tuned.window_px == tuned.shortest_edge_px < windows.task.inference.window_px
