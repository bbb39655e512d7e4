"""The data of the worked examples: drawn photos, and CVAT's export of them as CVAT's own package writes it."""

from __future__ import annotations

import pathlib
import subprocess

import numpy as np
import pytest
from PIL import Image

from maskformer_model.scenes.drawing import draw_scene
from tests.labelling_tools.conftest import TOOLS, tool_python  # noqa: F401

HEIGHT_PX, WIDTH_PX = 240, 320
NUM_LABELLED, NUM_NEW = 40, 3


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> pathlib.Path:
    """A folder with `photos`, their truth in `masks.npz`, and `new`, which nobody has labelled."""
    folder = tmp_path_factory.mktemp("drawn")
    masks = {}
    for name, first, number in (("photos", 0, NUM_LABELLED), ("new", NUM_LABELLED, NUM_NEW)):
        (folder / name).mkdir()
        for index in range(first, first + number):
            scene = draw_scene(np.random.default_rng([1, index]), HEIGHT_PX, WIDTH_PX)
            photo = f"frame_{index:06d}.jpg"
            Image.fromarray(scene.photo).save(folder / name / photo)
            if name == "photos":
                # Nobody outlines a group that is too dense to separate.
                drawn_ones = [(k, one.name) for k, one in enumerate(scene.segments, 1) if not one.iscrowd]
                masks |= {f"{photo}/{name}#{k}": scene.segment_map == k for k, name in drawn_ones}
    np.savez_compressed(folder / "masks.npz", **masks)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="session")
def cvat_export(drawn, tool_python) -> pathlib.Path:  # noqa: F811
    """The folder of CVAT's "COCO 1.0"."""
    folder = drawn.parent / f"{drawn.name}_exports"
    arguments = ["cvat", str(drawn / "photos"), str(drawn / "masks.npz"), str(folder)]
    subprocess.run([tool_python, str(TOOLS), *arguments], check=True, timeout=300)
    return folder / "cvat_coco"
