"""Tests of `pipeline.local_run.data_folder`."""

import pytest

from components.coco_example_gen.options import IngestOptions
from pipeline.local_run.data_folder import DataFolderError, check_data_dir


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
    assert " as coco_panoptic:\n" in message
    assert message.endswith(f"{tmp_path} holds: annotations, train2017, val2017.")


@pytest.mark.parametrize("options", [{"evaluate_on_train": True}, {"eval_share": 0.5}])
def test_validation_photos_are_not_asked_for_where_train_photos_are_evaluated(tmp_path, options):
    make_split(tmp_path, "train2017")
    check_data_dir(str(tmp_path), IngestOptions(**options))
    assert len(missing_in(tmp_path)[0]) == 3


def test_a_folder_that_does_not_exist_is_said_so_with_what_each_layout_would_be(tmp_path):
    missing, message = missing_in(tmp_path / "absent")
    for layout in ("coco_panoptic", "coco_instances", "ade20k", "cityscapes", "vistas_v1.2", "vistas_v2.0"):
        assert f" as {layout}:\n" in message
    assert f"{tmp_path}/absent/gtFine/train" in missing
    assert message.endswith("absent is not a folder.")


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

    missing, _ = missing_in(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        sources_of(str(tmp_path), IngestOptions())
    assert all(path in str(caught.value) for path in missing)
