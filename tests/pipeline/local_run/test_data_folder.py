"""Tests of `pipeline.local_run.data_folder`."""

import pytest

from components.coco_example_gen.options import IngestOptions
from pipeline.local_run.data_folder import DataFolderError, check_data_dir
from tests.components.coco_example_gen import folder_forms


def make_split(root, name):
    (root / name).mkdir(parents=True)
    (root / "annotations" / f"panoptic_{name}").mkdir(parents=True)
    (root / "annotations" / f"panoptic_{name}.json").write_text("{}")


def missing_in(data_dir, **options):
    with pytest.raises(DataFolderError) as caught:
        check_data_dir(str(data_dir), IngestOptions(**options))
    return [line.split()[0] for line in str(caught.value).splitlines() if line.startswith("  ")], str(caught.value)


def test_a_missing_file_is_named_with_its_place(tmp_path):
    make_split(tmp_path, "train2017")
    make_split(tmp_path, "val2017")
    check_data_dir(str(tmp_path), IngestOptions())
    (tmp_path / "annotations" / "panoptic_val2017.json").unlink()
    missing, message = missing_in(tmp_path)
    assert missing == [f"{tmp_path}/annotations/panoptic_val2017.json"]
    assert "To be of the layout coco_panoptic it lacks:\n" in message
    assert "It holds: annotations, train2017, val2017.\n" in message


@pytest.mark.parametrize("options", [{"evaluate_on_train": True}, {"eval_share": 0.5}])
def test_validation_photos_are_not_asked_for_where_train_photos_are_evaluated(tmp_path, options):
    make_split(tmp_path, "train2017")
    check_data_dir(str(tmp_path), IngestOptions(**options))
    assert len(missing_in(tmp_path)[0]) == 3


def test_a_folder_that_does_not_exist_is_said_so_in_one_line(tmp_path):
    _, message = missing_in(tmp_path / "absent")
    assert message.endswith("It is not a folder.") and len(message.splitlines()) == 1


def test_the_layout_and_a_drawn_split_are_said(tmp_path):
    make_split(tmp_path, "train2017")
    make_split(tmp_path, "val2017")
    assert check_data_dir(str(tmp_path), IngestOptions()) == ["Layout: coco_panoptic"]
    folder_forms.cvat(tmp_path / "export")
    notes = check_data_dir(str(tmp_path / "export"), IngestOptions())
    assert notes[0] == "Layout: coco_instances (export of CVAT or Datumaro)"
    assert "--eval_share" in notes[1]


def test_a_named_layout_is_the_only_one_that_is_asked_for(tmp_path):
    missing, message = missing_in(tmp_path, layout="ade20k")
    assert " as ade20k:\n" in message and "coco" not in message.removeprefix(f"`--data`: The data folder {tmp_path}")
    assert f"{tmp_path}/objectInfo150.txt" in missing


def test_of_spans_the_folder_alone_is_asked_for(tmp_path):
    check_data_dir(str(tmp_path), IngestOptions(span_pattern="span-{SPAN}"))
    with pytest.raises(DataFolderError, match="folder of the spans"):
        check_data_dir(str(tmp_path / "absent"), IngestOptions(span_pattern="span-{SPAN}"))


def test_an_object_store_is_left_to_the_ingestion():
    check_data_dir("gs://bucket/coco", IngestOptions())


def test_the_ingestion_itself_expects_the_same_files(tmp_path):
    from components.coco_example_gen.sources import sources_of

    (tmp_path / "val2017").mkdir()
    missing, message = missing_in(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        sources_of(str(tmp_path), IngestOptions())
    assert missing and message == f"`--data`: {caught.value}"
