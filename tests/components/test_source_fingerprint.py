"""Tests of `components.source_fingerprint`: which edits let a node work again."""

import shutil

import pytest

from components.source_fingerprint import WATCHED_PACKAGES, fingerprint_behind, source_fingerprint

TRAINER, INGEST = "components.training.trainer", "components.coco_example_gen.executor"


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    (folder / "b.py").write_text("y = 2\n")
    return folder


def test_the_same_sources_elsewhere_have_the_same_fingerprint(package, tmp_path):
    copy = tmp_path / "elsewhere" / "package"
    copy.mkdir(parents=True)
    for file in package.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert source_fingerprint([package]) == source_fingerprint([copy])


def test_a_changed_line_changes_it(package):
    before = source_fingerprint([package])
    (package / "a.py").write_text("x = 3\n")
    assert source_fingerprint([package]) != before


def test_code_that_moves_between_files_changes_it(package):
    before = source_fingerprint([package])
    (package / "a.py").write_text("")
    (package / "b.py").write_text("x = 1\ny = 2\n")
    assert source_fingerprint([package]) != before


def test_compiled_files_do_not_count(package):
    before = source_fingerprint([package])
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "a.pyc").write_bytes(b"compiled")
    assert source_fingerprint([package]) == before


def test_a_single_file_can_be_named(package):
    assert source_fingerprint([package / "a.py"]) != source_fingerprint([package / "b.py"])


def test_no_source_at_all_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="must hold Python sources"):
        source_fingerprint([tmp_path])


@pytest.fixture(scope="module")
def checkout(project_dir, tmp_path_factory):
    """A copy of the packages that a training depends on."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in WATCHED_PACKAGES:
        shutil.copytree(project_dir / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def fingerprint_after_an_edit(checkout, tmp_path, path, module):
    copy = tmp_path / "edited"
    shutil.copytree(checkout, copy)
    with open(copy / path, "a", encoding="utf-8") as file:
        file.write("\nEDITED = True\n")
    return fingerprint_behind(module, copy)


@pytest.mark.parametrize(
    "path",
    [
        "maskformer_model/serve/app.py",
        "maskformer_model/serve/page.html",
        "maskformer_model/predict.py",
        "maskformer_model/convert_checkpoint.py",
        "maskformer_model/scenes/drawing.py",
        "maskformer_model/experiments/laptop/coco_small.py",
        "components/panoptic_evaluator/report/page.py",
    ],
)
def test_an_edit_of_what_no_training_uses_trains_nothing_again(checkout, tmp_path, path):
    assert fingerprint_after_an_edit(checkout, tmp_path, path, TRAINER) == fingerprint_behind(TRAINER, checkout)


@pytest.mark.parametrize(
    "path",
    [
        "maskformer_model/losses/matcher.py",
        "maskformer_model/losses/mask_loss.py",
        "maskformer_model/modeling/backbones/swin.py",
        "maskformer_model/data/augmentation.py",
        "maskformer_model/training/optimizer.py",
        "maskformer_model/export/signatures.py",
        "maskformer_model/config/model.py",
        "components/training/trainer.py",
    ],
)
def test_an_edit_of_what_a_training_uses_trains_again(checkout, tmp_path, path):
    assert fingerprint_after_an_edit(checkout, tmp_path, path, TRAINER) != fingerprint_behind(TRAINER, checkout)


@pytest.mark.parametrize(
    ("path", "reads_again"),
    [
        ("components/coco_example_gen/records/reader.py", True),
        ("maskformer_model/data/examples.py", True),
        ("maskformer_model/training/optimizer.py", False),
        ("components/panoptic_evaluator/gate/judge.py", False),
    ],
)
def test_an_edit_of_what_reads_records_and_of_nothing_else_reads_them_again(checkout, tmp_path, path, reads_again):
    changed = fingerprint_after_an_edit(checkout, tmp_path, path, INGEST) != fingerprint_behind(INGEST, checkout)
    assert changed == reads_again


def test_a_module_that_is_not_there_has_no_fingerprint(checkout):
    with pytest.raises(KeyError, match="no_such_module"):
        fingerprint_behind("maskformer_model.no_such_module", checkout)


def test_a_module_of_one_s_own_counts_with_what_it_imports(checkout, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    own = tmp_path / "trainer_of_ones_own.py"
    own.write_text("from maskformer_model.losses import matcher\n")
    before = fingerprint_behind("trainer_of_ones_own", checkout)
    path = "maskformer_model/losses/matcher.py"
    assert fingerprint_after_an_edit(checkout, tmp_path, path, "trainer_of_ones_own") != before
    own.write_text("from maskformer_model.losses import matcher\nSTEPS = 3\n")
    assert fingerprint_behind("trainer_of_ones_own", checkout) != before
