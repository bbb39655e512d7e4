"""What labelling tools export goes straight in, and what is written for them they read as it was meant."""

from __future__ import annotations

import io
import posixpath
import subprocess

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from components.coco_example_gen.kept_aside import KeptAside
from components.coco_example_gen.options import IngestOptions
from components.coco_example_gen.records.reader import read_checked_record
from components.coco_example_gen.records.reference_files import SplitRequest, plan_split, read_references
from components.coco_example_gen.sources import sources_of
from maskformer_model.categories import CategoryTable
from maskformer_model.prediction.results import PanopticResult, Segment
from maskformer_model.prediction.writer import PredictionWriter
from tests.labelling_tools.conftest import NUM_PHOTOS, TOOLS, truth

EXPORTS = {
    "cvat_coco": "coco_instances",
    "cvat_masks": "label_png",
    "datumaro_panoptic": "coco_panoptic",
    "label_studio_coco": "coco_instances",
    "label_studio_json": "label_studio",
    "labelme": "labelme",
}
CATEGORIES = CategoryTable.from_coco([{"id": 3, "name": "ball"}, {"id": 8, "name": "crate & <box>"}])


@pytest.mark.parametrize("folder", EXPORTS)
def test_an_untouched_export_is_recognised_and_every_object_is_where_it_was_drawn(exports_dir, tmp_path, folder):
    sources = sources_of(str(exports_dir / folder), IngestOptions())
    assert {source.layout for source in sources.values()} == {EXPORTS[folder]}
    numbers = []
    for split, source in sources.items():
        (tmp_path / split).mkdir()
        plan = plan_split(SplitRequest(split=split, num_shards=1), source, str(tmp_path / split))
        for ref in read_references(plan.shards[0]):
            assert not isinstance(ref, KeptAside)
            record, ids, _ = read_checked_record(ref, source, plan.categories)
            numbers.append(int(posixpath.basename(record.filename).split(".")[0][-1]))
            found = {plan.categories.names[s.class_index]: ids == s.id for s in record.segments}
            assert found.keys() - {"background"} == {"ball", "crate"}
            for name, mask in truth(numbers[-1]).items():
                # Datumaro's polygons go through the middle of the outermost pixels, so COCO's rule loses a row.
                lost = found[name] ^ mask
                assert not lost.any() or folder == "cvat_coco" and not (lost & ndimage.binary_erosion(mask)).any()
    assert sorted(numbers) == list(range(NUM_PHOTOS))


@pytest.fixture(scope="module")
def read_back(tool_python, tmp_path_factory):
    """Our pre-annotations of two photos as the tools read them, and what was written, by photo and class."""
    root = tmp_path_factory.mktemp("pre-annotations")
    written = {}
    for form in ("coco_instances", "cvat", "label_studio"):
        for shapes in ("masks", "polygons"):
            folder = root / f"{form}_{shapes}"
            paths = [str(root / f"p{number}.png") for number in range(2)]
            writer = PredictionWriter(str(folder), [form], CATEGORIES, paths, shapes)
            for number, path in enumerate(paths):
                result = blobs(number)
                writer.write(path, number, result)
                (folder / "images" / "default").mkdir(parents=True, exist_ok=True)
                for place in ("images", "images/default"):
                    (folder / place / f"p{number}.png").write_bytes(result.image_bytes)
                for segment in result.segments:
                    written[f"p{number}", segment.name] = result.segment_ids == segment.id
            writer.finish()
    subprocess.run([tool_python, str(TOOLS), "read", str(root), str(root / "found.npz")], check=True, timeout=300)
    found = {tuple(key.split("/")): mask for key, mask in np.load(root / "found.npz").items()}
    return found, written


def blobs(seed):
    """Two classes of round regions with holes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(60, 80)), 3)
    ids = np.where(noise > np.quantile(noise, 0.65), 1, 0) + 2 * (noise < np.quantile(noise, 0.3))
    segments = tuple(
        Segment(
            id=index + 1,
            category_id=int(category.id),
            class_index=index,
            name=category.name,
            isthing=True,
            score=0.75,
            area_px=int((ids == index + 1).sum()),
            box_px=(0.0, 0.0, 80.0, 60.0),
        )
        for index, category in enumerate(CATEGORIES.categories)
    )
    buffer = io.BytesIO()
    Image.new("RGB", (80, 60)).save(buffer, "PNG")
    shared = {"image_bytes": buffer.getvalue(), "categories": CATEGORIES}
    return PanopticResult(segment_ids=ids.astype(np.int32), segments=segments, **shared)


@pytest.mark.parametrize("form", ["coco_instances", "cvat", "label_studio"])
def test_masks_come_back_to_the_pixel(read_back, form):
    found, written = read_back
    assert {key[1:] for key in found if key[0] == f"{form}_masks"} == written.keys()
    for (photo, name), mask in written.items():
        np.testing.assert_array_equal(found[f"{form}_masks", photo, name], mask)


@pytest.mark.parametrize("form", ["coco_instances", "cvat", "label_studio"])
def test_polygons_come_back_within_a_pixel_of_the_outline(read_back, form):
    found, written = read_back
    for (photo, name), mask in written.items():
        moved = found[f"{form}_polygons", photo, name] ^ mask
        inside = ndimage.binary_erosion(mask, np.ones((3, 3)), border_value=1)
        assert not (moved & inside).any()
        assert not (moved & ~ndimage.binary_dilation(mask, np.ones((3, 3)))).any()
