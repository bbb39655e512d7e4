"""Every field of every registered recipe is the official one's, or says why it has no counterpart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from maskformer_model import experiments
from maskformer_model.config import merge
from maskformer_model.data import normalization
from tests.recipes import __main__ as command
from tests.recipes import changed_pixels, table
from tests.recipes.official import FILES, data, recipe_of
from tests.recipes.reasons import BUILT_IN, OURS_ALONE, THE_USER_S
from tests.recipes.rules import OF_RECIPE, NotRead, fields_of

NOT_OFFICIAL = {
    "camvid_small",
    "coco_overfit",
    "coco_small",
    "generated_scenes",
    "generated_scenes_long",
    "generated_scenes_quick",
    "eomt_small",
    "mask2former_camvid_small",
    "mask2former_few_photos",
    "mask2former_small",
    "nuclei_small",
}
# Of other repositories: `test_mask2former_recipes.py` and `test_eomt_recipes.py` have their numbers.
OF_OTHERS = {name for name in experiments.names() if name.startswith(("mask2former_", "eomt_"))} - NOT_OFFICIAL


def differences(name, config):
    """Fields with another value than the official one: `field: ours, official`."""
    recipe, ours = recipe_of(name), fields_of(config)
    expected = {field: rule(recipe) for field, rule in OF_RECIPE.items()}
    return {
        field: (ours.get(field, "absent"), value)
        for field, value in expected.items()
        if not isinstance(value, NotRead) and ours.get(field, "absent") != value
    }


def test_every_experiment_is_official_or_named_as_our_own():
    assert set(experiments.names()) == set(FILES) | NOT_OFFICIAL | OF_OTHERS
    leaves = set(data()["files"]) - {entry.get("base") for entry in data()["files"].values()}
    models = {file for file in data()["files"] if "/Base-" not in file}
    assert leaves <= models
    assert {f"configs/{file}.yaml" for file in FILES.values()} == models


@pytest.mark.parametrize("name", FILES)
def test_every_field_is_the_official_one(name):
    assert differences(name, experiments.get(name)) == {}


@pytest.mark.parametrize("name", FILES)
def test_no_field_of_ours_is_unexplained(name):
    reasons = tuple(OURS_ALONE)
    unexplained = [
        field
        for field in fields_of(experiments.get(name))
        if field not in OF_RECIPE and not any(field == r or (r.endswith(".") and field.startswith(r)) for r in reasons)
    ]
    assert unexplained == []


def test_no_official_key_is_unexplained():
    unread = set.intersection(*map(unread_keys, FILES))
    assert unread == set(BUILT_IN) | set(THE_USER_S)


def unread_keys(name):
    recipe = recipe_of(name)
    for rule in OF_RECIPE.values():
        rule(recipe)
    return recipe.keys - recipe.read


@pytest.mark.parametrize("name", FILES)
def test_what_is_built_in_has_no_other_value_in_the_official_file(name):
    recipe = recipe_of(name)
    assert {key: recipe[key] for key, (values, _) in BUILT_IN.items() if recipe[key] not in values} == {}
    assert list(normalization.PIXEL_MEAN_RGB) == recipe["MODEL.PIXEL_MEAN"]
    assert list(normalization.PIXEL_STD_RGB) == recipe["MODEL.PIXEL_STD"]
    assert not recipe["TEST.AUG.ENABLED"]


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        (
            "ade20k_semantic_r50",
            {"task": {"inference": {"size_divisibility": 512}}},
            "task.inference.size_divisibility",
        ),
        (
            "ade20k_panoptic_r50",
            {"task": {"train_data": {"parser": {"keep_emptied_targets": False}}}},
            "task.train_data.parser.keep_emptied_targets",
        ),
        (
            "vistas_semantic_r50",
            {"task": {"inference": {"semantic_fusion_size": "photo"}}},
            "task.inference.semantic_fusion_size",
        ),
        ("coco_panoptic_swin_large", {"task": {"model": {"decoder": {"dropout": 0.0}}}}, "task.model.decoder.dropout"),
        ("coco_panoptic_r101", {"trainer": {"optimizer": {"warmup_steps": 10}}}, "trainer.optimizer.warmup_steps"),
    ],
)
def test_a_field_with_another_value_is_found(name, change, field):
    assert list(differences(name, merge(experiments.get(name), change))) == [field]


def test_values_are_taken_from_the_last_file_that_gives_them():
    panoptic = recipe_of("ade20k_panoptic_r101")
    base, own = "configs/ade20k-150/Base-ADE20K-150.yaml", "configs/ade20k-150-panoptic/maskformer_panoptic_"
    assert (panoptic["SOLVER.IMS_PER_BATCH"], panoptic.source("SOLVER.IMS_PER_BATCH")) == (16, base)
    assert panoptic["INPUT.SIZE_DIVISIBILITY"] == 640
    assert panoptic.source("INPUT.SIZE_DIVISIBILITY") == f"{own}R50_bs16_720k.yaml"
    assert panoptic.source("MODEL.RESNETS.DEPTH") == f"{own}R101_bs16_720k.yaml"
    assert panoptic.source("MODEL.MASK_FORMER.SIZE_DIVISIBILITY") == "mask_former/config.py"
    coco = recipe_of("coco_panoptic_swin_tiny")
    assert coco["MODEL.MASK_FORMER.SIZE_DIVISIBILITY"] == 0
    assert coco.source("MODEL.MASK_FORMER.SIZE_DIVISIBILITY").endswith("maskformer_panoptic_R50_bs64_554k.yaml")


def test_the_page_is_what_the_command_writes():
    assert command.PAGE.read_text(encoding="utf-8") == table.page(), "Write it again: python -m tests.recipes write"


def test_a_recipe_is_shown_with_the_source_of_every_value(capsys):
    assert command.main(["show", "cityscapes_semantic_r101c"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(OF_RECIPE)
    [line] = [line for line in lines if line.startswith("| `task.inference.size_divisibility`")]
    assert line.split(" | ")[1:] == ["32", "32", "`MODEL.MASK_FORMER.SIZE_DIVISIBILITY`", "`mask_former/config.py` |"]


@pytest.mark.parametrize(("num_wide", "num_high", "expected"), [(6, 2, "75.0% -> 100.0%"), (1, 0, "100.0% -> 100.0%")])
def test_padding_is_counted_together_and_in_pairs(capsys, num_wide, num_high, expected):
    # Wide and high photos of 4:3 make a square, of which each is three quarters.
    changed_pixels._print_padding(np.array([[480, 640]] * num_wide + [[640, 480]] * num_high))
    assert expected in capsys.readouterr().out


def test_reasons_belong_to_fields_and_keys_that_there_are():
    fields = fields_of(experiments.get("coco_panoptic_r101"))
    for reason in OURS_ALONE:
        assert any(field == reason or (reason.endswith(".") and field.startswith(reason)) for field in fields), reason
    assert not set(OURS_ALONE) & set(OF_RECIPE)
    assert dataclasses.is_dataclass(NotRead)
