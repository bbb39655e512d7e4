"""CocoExampleGen under TFX: executor, driver, cache, and what statistics and validation make of the Examples."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
from collections import Counter

import pytest
import tensorflow as tf
from google.protobuf import text_format
from ml_metadata.proto import metadata_store_pb2
from PIL import Image
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tfx import components as tfx_components
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline
from tfx.types import artifact_utils, standard_artifacts

from components import coco_example_gen
from components.coco_example_gen import manifest
from components.coco_example_gen.component import CocoExampleGen
from components.coco_example_gen.custom_config import data_dir_of, unpack_options
from components.coco_example_gen.driver import Driver
from components.coco_example_gen.executor import Executor
from components.coco_example_gen.kept_aside import TooManyKeptAsideError
from components.coco_example_gen.options import IngestOptions
from components.data_validation.curated_schema import CuratedSchemaGen
from maskformer_model.categories import CategoryTable
from maskformer_model.data import examples
from maskformer_model.scenes import data_set

SCHEMA_FILE = pathlib.Path(coco_example_gen.__file__).parent / "schema.pbtxt"
BEAM_ARGS = ["--runner=FnApiRunner"]
NUM_TRAIN, NUM_VAL = 5, 3


@pytest.fixture(scope="module")
def pristine_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("scenes")
    data_set.write_data_set(directory, num_train=NUM_TRAIN, num_val=NUM_VAL, size_px=48, seed=5)
    return directory


@pytest.fixture
def data_dir(pristine_dir, tmp_path):
    return shutil.copytree(pristine_dir, tmp_path / "data")


def _execute(data_dir, output_dir, **options):
    """Runs the executor alone, as TFX does, and returns the artifact."""
    node = CocoExampleGen(str(data_dir), **options)
    artifact = standard_artifacts.Examples()
    artifact.uri = str(output_dir)
    context = Executor.Context(beam_pipeline_args=BEAM_ARGS, tmp_dir=str(output_dir) + ".tmp", unique_id="1")
    Executor(context).Do({}, {"examples": [artifact]}, dict(node.exec_properties))
    return artifact


def _file_names(artifact, split):
    files = tf.io.gfile.glob(os.path.join(artifact_utils.get_split_uri([artifact], split), "*"))
    records = [examples.decode_record(record) for record in tf.data.TFRecordDataset(files).as_numpy_iterator()]
    return sorted(record.filename for record in records)


def _photos(data_dir, folder):
    return sorted(path.name for path in (data_dir / folder).iterdir())


def _kept_aside(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_both_splits_are_written_with_categories_and_an_empty_list(data_dir, tmp_path):
    artifact = _execute(data_dir, tmp_path / "examples", num_shards=2)
    assert artifact_utils.decode_split_names(artifact.split_names) == ["train", "eval"]
    assert artifact.get_string_custom_property("payload_format") == "FORMAT_TF_EXAMPLE"
    assert _file_names(artifact, "train") == _photos(data_dir, "train2017")
    assert _file_names(artifact, "eval") == _photos(data_dir, "val2017")
    pattern = os.path.join(artifact_utils.get_split_uri([artifact], "train"), "*")
    names = [os.path.basename(path) for path in sorted(tf.io.gfile.glob(pattern))]
    assert names == ["data_tfrecord-00000-of-00002", "data_tfrecord-00001-of-00002"]
    assert CategoryTable.load(examples.categories_path(pattern)).to_coco() == [
        {key: entry[key] for key in ("id", "name", "isthing", "color")} for entry in data_set.CATEGORIES
    ]
    assert pathlib.Path(examples.kept_aside_path(pattern)).read_text() == ""
    # Nothing else is left in the artifact.
    files = ["categories.json", "kept_aside.jsonl", "notices.jsonl", "record_digests.json"]
    assert sorted(os.listdir(artifact.uri)) == ["Split-eval", "Split-train", *files]


def test_the_hash_of_every_record_file_is_noted_and_follows_from_the_records_alone(data_dir, tmp_path):
    def noted(name):
        return json.loads((tmp_path / name / "record_digests.json").read_text())

    _execute(data_dir, tmp_path / "first", num_shards=2)
    first = noted("first")
    records = tf.data.TFRecordDataset(str(tmp_path / "first" / "Split-eval" / "data_tfrecord-00001-of-00002"))
    content = b"".join(len(record).to_bytes(8, "little") + record for record in records.as_numpy_iterator())
    assert first["Split-eval/data_tfrecord-00001-of-00002"] == hashlib.sha256(content).hexdigest()
    assert len(first) == 4
    shutil.move(data_dir, tmp_path / "elsewhere")
    _execute(tmp_path / "elsewhere", tmp_path / "second", num_shards=2)
    assert noted("second") == first
    photo = tmp_path / "elsewhere" / "train2017" / _photos(tmp_path / "elsewhere", "train2017")[1]
    Image.open(photo).save(photo, quality=20)
    _execute(tmp_path / "elsewhere", tmp_path / "third", num_shards=2)
    changed = [name for name, digest in noted("third").items() if digest != first[name]]
    assert changed == ["Split-train/data_tfrecord-00001-of-00002"]


def test_the_first_train_photos_can_be_both_splits(data_dir, tmp_path):
    artifact = _execute(data_dir, tmp_path / "examples", max_train_images=2, evaluate_on_train=True)
    first = _photos(data_dir, "train2017")[:2]
    assert (_file_names(artifact, "train"), _file_names(artifact, "eval")) == (first, first)


def test_bad_records_are_listed_and_the_rest_goes_on(data_dir, tmp_path):
    photos = [data_dir / "train2017" / name for name in _photos(data_dir, "train2017")]
    photos[0].unlink()
    photos[1].write_bytes(b"no image")
    artifact = _execute(data_dir, tmp_path / "examples", max_kept_aside_share=0.4)
    assert _file_names(artifact, "train") == [path.name for path in photos[2:]]
    found = _kept_aside(tmp_path / "examples" / "kept_aside.jsonl")
    assert [(entry["split"], entry["file_name"], entry["reason"]) for entry in found] == [
        ("train", photos[0].name, "missing_photo"),
        ("train", photos[1].name, "not_an_image"),
    ]
    assert str(photos[0]) in found[0]["detail"]
    assert found[0]["image_id"] == str(int(photos[0].stem))


def test_too_many_bad_records_stop_the_job_and_leave_the_list(data_dir, tmp_path):
    for name in _photos(data_dir, "train2017")[:2]:
        (data_dir / "train2017" / name).unlink()
    with pytest.raises(TooManyKeptAsideError, match=r"'train'.* 30.0% .*2 of 5 \(2 missing_photo\)") as caught:
        _execute(data_dir, tmp_path / "examples", max_kept_aside_share=0.3)
    # TFX removes the artifact of a failed node, so the list lies beside it.
    list_path = tmp_path / "examples.kept_aside.jsonl"
    assert str(list_path) in str(caught.value)
    assert Counter(entry["reason"] for entry in _kept_aside(list_path)) == {"missing_photo": 2}


def test_splits_with_different_categories_are_refused_and_another_order_of_them_is_not(data_dir, tmp_path):
    path = data_dir / "annotations" / "panoptic_val2017.json"
    document = json.loads(path.read_text())
    document["categories"].reverse()
    path.write_text(json.dumps(document))
    artifact = _execute(data_dir, tmp_path / "reordered")
    names = [category["name"] for category in data_set.CATEGORIES]
    assert list(CategoryTable.load(tmp_path / "reordered" / "categories.json").names) == names
    # Every class index of the split that lists them backwards is of the list that was written.
    for path_of_shard in tf.io.gfile.glob(os.path.join(artifact_utils.get_split_uri([artifact], "eval"), "*")):
        for record in tf.data.TFRecordDataset(path_of_shard).as_numpy_iterator():
            segments = examples.decode_record(record).segments
            assert [data_set.CATEGORIES[s.class_index]["id"] for s in segments] == [s.category_id for s in segments]
    document["categories"][0]["name"] = "another"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="All splits must list the same categories"):
        _execute(data_dir, tmp_path / "examples")


def test_options_travel_through_the_parameters_unchanged():
    options = {"max_train_images": 8, "evaluate_on_train": True, "max_kept_aside_share": 0.25, "num_shards": 3}
    node = CocoExampleGen("/data", **options)
    received = unpack_options(node.exec_properties["custom_config"])
    assert received == IngestOptions(**options)
    assert type(received.max_train_images) is int
    with pytest.raises(ValueError, match="`custom_config` must hold the options"):
        unpack_options("{}")


class _DriverWithoutMetadata(Driver):
    """The answer to `resolve_exec_properties` needs no metadata."""

    def __init__(self):
        pass


def _fingerprint(data_dir, **options):
    properties = dict(CocoExampleGen(str(data_dir), **options).exec_properties)
    return _DriverWithoutMetadata().resolve_exec_properties(properties, None, None)["input_fingerprint"]


def test_the_fingerprint_follows_the_content_and_not_the_times(data_dir):
    before = _fingerprint(data_dir)
    assert before.startswith("content_sha256:")
    photo = next((data_dir / "val2017").iterdir())
    os.utime(photo, (1, 1))
    os.utime(data_dir / "annotations" / "panoptic_val2017.json", (1, 1))
    assert _fingerprint(data_dir) == before
    photo.write_bytes(photo.read_bytes() + b"\0")
    assert _fingerprint(data_dir) != before


def test_a_trusted_manifest_stands_in_for_hashes_of_all_photos(data_dir):
    assert manifest.main(["write", str(data_dir)]) == 0
    before = _fingerprint(data_dir)
    assert _fingerprint(data_dir, trust_manifest=True) == before
    next((data_dir / "train2017").iterdir()).write_bytes(b"changed")
    assert _fingerprint(data_dir, trust_manifest=True) == before
    assert _fingerprint(data_dir) != before
    assert manifest.main(["write", str(data_dir)]) == 0
    assert _fingerprint(data_dir, trust_manifest=True) != before


def _properties(data_dir, **options):
    properties = dict(CocoExampleGen(str(data_dir), **options).exec_properties)
    return _DriverWithoutMetadata().resolve_exec_properties(properties, None, None)


@pytest.mark.parametrize(
    ("pattern", "older", "newer", "span", "version"),
    [
        ("span-{SPAN}", "span-2", "span-10", 10, None),
        ("span-{SPAN:3}/v{VERSION}", "span-007/v4", "span-007/v11", 7, 11),
        ("{YYYY}-{MM}-{DD}", "2026-02-28", "2026-03-01", 20513, None),
    ],
)
def test_the_newest_span_is_read_and_a_change_of_it_is_seen(
    pristine_dir, tmp_path, pattern, older, newer, span, version
):
    for folder in (older, newer):
        shutil.copytree(pristine_dir, tmp_path / "all" / folder)
    resolved = _properties(tmp_path / "all", span_pattern=pattern)
    assert data_dir_of(resolved) == str(tmp_path / "all" / newer)
    assert (resolved["span"], resolved["version"]) == (span, version)
    photo = next((tmp_path / "all" / older / "train2017").iterdir())
    photo.write_bytes(b"changed")
    again = _properties(tmp_path / "all", span_pattern=pattern)
    assert again["input_fingerprint"] == resolved["input_fingerprint"]
    photo = next((tmp_path / "all" / newer / "train2017").iterdir())
    photo.write_bytes(b"changed")
    assert _properties(tmp_path / "all", span_pattern=pattern)["input_fingerprint"] != resolved["input_fingerprint"]


def test_the_photos_of_the_chosen_span_are_those_that_are_read(pristine_dir, tmp_path):
    for number in (1, 2):
        shutil.copytree(pristine_dir, tmp_path / "all" / f"span-{number}")
    path = tmp_path / "all" / "span-2" / "annotations" / "panoptic_train2017.json"
    document = json.loads(path.read_text())
    document["images"] = document["images"][:3]
    names = sorted(image["file_name"] for image in document["images"])
    ids = {image["id"] for image in document["images"]}
    document["annotations"] = [entry for entry in document["annotations"] if entry["image_id"] in ids]
    path.write_text(json.dumps(document))
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path / "examples")
    context = Executor.Context(beam_pipeline_args=BEAM_ARGS, tmp_dir=str(tmp_path / "tmp"), unique_id="1")
    properties = _properties(tmp_path / "all", span_pattern="span-{SPAN}")
    Executor(context).Do({}, {"examples": [artifact]}, properties)
    assert _file_names(artifact, "train") == names


def test_a_hash_of_the_id_splits_the_train_photos_in_the_share_that_is_asked_for(data_dir, tmp_path):
    artifact = _execute(data_dir, tmp_path / "a", eval_share=0.4, max_kept_aside_share=0.0)
    train, evaluated = (_file_names(artifact, split) for split in ("train", "eval"))
    assert train and evaluated and sorted(train + evaluated) == _photos(data_dir, "train2017")
    assert len(evaluated) == round(0.4 * len(train + evaluated))


def test_a_wrong_data_folder_is_answered_before_anything_is_read(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="(?s)no layout that can be read.*It holds: nothing.*Expected: a published layout"
    ):
        _fingerprint(tmp_path)


def test_the_schema_describes_what_statistics_and_transform_read():
    schema = text_format.Parse(SCHEMA_FILE.read_text(), schema_pb2.Schema())
    only_transformed = ["image/channel_square_sum", "image/channel_sum", "image/segment/area", "image/segment/iscrowd"]
    assert sorted(feature.name for feature in schema.feature) == sorted([*examples.STATISTICS_KEYS, *only_transformed])


def _validation_nodes(example_gen):
    # Only importable once TFX has been: without ZetaSQL it puts something in its place.
    import tensorflow_data_validation as tfdv

    statistics = tfx_components.StatisticsGen(
        examples=example_gen.outputs["examples"],
        stats_options=tfdv.StatsOptions(feature_allowlist=list(examples.STATISTICS_KEYS)),
    )
    schema = CuratedSchemaGen(schema_file=str(SCHEMA_FILE))
    validator = tfx_components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    return [statistics, schema, validator]


def _run_pipeline(root, data_dir, validation_nodes=lambda example_gen: []):
    """Runs ingestion and the nodes that are given; returns the states of the ExampleGen's executions so far."""
    example_gen = CocoExampleGen(str(data_dir))
    connection = metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))
    pipeline = Pipeline(
        pipeline_name="ingest",
        pipeline_root=str(root / "artifacts"),
        metadata_connection_config=connection,
        components=[example_gen, *validation_nodes(example_gen)],
        enable_cache=True,
        beam_pipeline_args=BEAM_ARGS,
    )
    LocalDagRunner().run(pipeline)
    with metadata.Metadata(connection) as handle:
        executions = handle.store.get_executions_by_type("components.coco_example_gen.component.CocoExampleGen")
    state = metadata_store_pb2.Execution.State
    return [state.Name(execution.last_known_state) for execution in sorted(executions, key=lambda e: e.id)]


def test_a_second_run_is_answered_from_the_cache_until_one_byte_of_a_photo_changes(tmp_path, data_dir):
    root = tmp_path / "run"
    root.mkdir()
    assert _run_pipeline(root, data_dir, _validation_nodes) == ["COMPLETE"]
    [anomalies] = (root / "artifacts" / "ExampleValidator" / "anomalies").iterdir()
    for split in ("train", "eval"):
        found = anomalies_pb2.Anomalies.FromString((anomalies / f"Split-{split}" / "SchemaDiff.pb").read_bytes())
        assert not found.anomaly_info and not found.HasField("dataset_anomaly_info")
    [statistics] = (root / "artifacts" / "StatisticsGen" / "statistics").iterdir()
    content = (statistics / "Split-train" / "FeatureStats.pb").read_bytes()
    [stats] = statistics_pb2.DatasetFeatureStatisticsList.FromString(content).datasets
    assert stats.num_examples == NUM_TRAIN
    assert sorted(feature.path.step[0] for feature in stats.features) == sorted(examples.STATISTICS_KEYS)

    assert _run_pipeline(root, data_dir) == ["COMPLETE", "CACHED"]
    photo = next((data_dir / "train2017").iterdir())
    stat = photo.stat()
    content = bytearray(photo.read_bytes())
    content[-3] ^= 1  # In the last bytes of the compressed pixels.
    photo.write_bytes(content)
    os.utime(photo, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert _run_pipeline(root, data_dir) == ["COMPLETE", "CACHED", "COMPLETE"]
