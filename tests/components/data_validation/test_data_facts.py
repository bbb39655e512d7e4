"""The facts that TFX's Transform node adds up, against a direct count over the same files."""

from __future__ import annotations

import copy
import json
import pathlib

import numpy as np
import pytest
from PIL import Image
from tfx import components as tfx_components
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline

from components import coco_example_gen
from components.coco_example_gen.component import CocoExampleGen
from components.data_validation.curated_schema import CuratedSchemaGen
from components.data_validation.data_facts import describe, read_facts
from components.data_validation.drift_gate import judge_drift
from maskformer_model.categories import CategoryTable
from maskformer_model.scenes import data_set

SCHEMA_FILE = pathlib.Path(coco_example_gen.__file__).parent / "schema.pbtxt"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A data folder, and the facts that the nodes made of it."""
    root = tmp_path_factory.mktemp("facts")
    data_set.write_data_set(root / "data", num_train=9, num_val=1, size_px=48, seed=5)
    example_gen = CocoExampleGen(str(root / "data"))
    schema = CuratedSchemaGen(schema_file=str(SCHEMA_FILE))
    transform = tfx_components.Transform(
        examples=example_gen.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="components.data_validation.data_facts.preprocessing_fn",
        materialize=False,
        disable_statistics=True,
        disable_analyzer_cache=True,
    )
    LocalDagRunner().run(
        Pipeline(
            pipeline_name="facts",
            pipeline_root=str(root / "artifacts"),
            metadata_connection_config=metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite")),
            components=[example_gen, schema, transform],
            beam_pipeline_args=["--runner=FnApiRunner"],
        )
    )
    [graph] = (root / "artifacts" / "Transform" / "transform_graph").iterdir()
    [examples_dir] = (root / "artifacts" / "CocoExampleGen" / "examples").iterdir()
    categories = CategoryTable.load(examples_dir / "categories.json")
    return root, read_facts(str(graph), categories)


def _judge(root, model_dir, action):
    [graph] = (root / "artifacts" / "Transform" / "transform_graph").iterdir()
    [examples_dir] = (root / "artifacts" / "CocoExampleGen" / "examples").iterdir()
    judge_drift(str(examples_dir / "Split-train"), str(graph), model_dir, action, 0.1)


@pytest.mark.slow
def test_the_facts_equal_a_direct_count_over_the_files(run):
    root, facts = run
    document = json.loads((root / "data" / "annotations" / "panoptic_train2017.json").read_text())
    photos = [np.asarray(Image.open(path).convert("RGB")) for path in sorted((root / "data" / "train2017").iterdir())]
    pixels = np.concatenate([photo.reshape(-1, 3) for photo in photos]).astype(np.float64)
    segments = [segment for entry in document["annotations"] for segment in entry["segments_info"]]
    assert (facts["num_photos"], facts["num_pixels"]) == (9, len(pixels))
    for found, category in zip(facts["classes"], document["categories"], strict=True):
        own = [segment for segment in segments if segment["category_id"] == category["id"]]
        assert (found["name"], found["category_id"]) == (category["name"], category["id"])
        assert (found["segments"], found["pixels"]) == (len(own), sum(segment["area"] for segment in own))
        assert found["crowd_segments"] == sum(segment["iscrowd"] for segment in own)
        assert found["segment_share"] == len(own) / len(segments)
    np.testing.assert_allclose(facts["channel_mean"], pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(facts["channel_std"], pixels.std(axis=0), rtol=1e-9)
    labelled = sum(segment["area"] for segment in segments)
    assert facts["void_share"] == pytest.approx(1 - labelled / len(pixels), abs=1e-12)
    crowds = sum(segment["area"] for segment in segments if segment["iscrowd"])
    assert facts["crowd_share"] == pytest.approx(crowds / len(pixels), abs=1e-12)
    for name, choose in (("shorter_edge_px", min), ("longer_edge_px", max)):
        edges = sorted(choose(photo.shape[:2]) for photo in photos)
        deciles = facts["size_quantiles"][name]
        assert (deciles[0], deciles[-1], len(deciles)) == (edges[0], edges[-1], 11)
        for share, value in enumerate(deciles):
            # A decile is a size that occurs, at most one place from its rank.
            ranks = [rank for rank, edge in enumerate(edges) if edge == value]
            assert min(abs(rank - share / 10 * (len(edges) - 1)) for rank in ranks) <= 1


@pytest.mark.slow
def test_no_photo_is_stored_again(run):
    root, _ = run
    assert [path.name for path in (root / "artifacts" / "Transform").iterdir() if "examples" in path.name] == []


@pytest.mark.slow
def test_drift_is_judged_against_the_facts_that_a_model_carries(run, tmp_path):
    root, facts = run[0], copy.deepcopy(run[1])
    folder = tmp_path / "Format-Serving" / "assets.extra"
    folder.mkdir(parents=True)
    (folder / "data_facts.json").write_text(json.dumps(facts))
    _judge(root, str(tmp_path), "block")
    # The model's data had nothing but sky.
    for entry in facts["classes"]:
        shares = {"segment_share": 1.0, "pixel_share": 1.0} if entry["name"] == "sky" else {}
        entry.update({"segment_share": 0.0, "pixel_share": 0.0} | shares)
    (folder / "data_facts.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="'sky' has .* of the segments, it had 100.0%"):
        _judge(root, str(tmp_path), "block")
    _judge(root, str(tmp_path), "warn")
    # The first run has no model to compare with.
    _judge(root, None, "block")


def test_classes_that_the_data_set_does_not_have_are_an_error():
    categories = CategoryTable.from_coco([{"id": 1, "name": "a"}])
    sums = {name: [1] for name in ("num_photos", "num_pixels", "shorter_edge_px", "longer_edge_px")}
    sums |= {name: [1, 0] for name in ("segments", "pixels", "crowd_segments", "crowd_pixels")}
    sums |= {name: [5, 5, 5] for name in ("channel_sum", "channel_square_sum")}
    assert describe(sums, categories)["classes"][0]["segments"] == 1
    with pytest.raises(ValueError, match="must be below 1"):
        describe(sums | {"segments": [1, 1]}, categories)
