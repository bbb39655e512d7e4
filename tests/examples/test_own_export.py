"""The page on an export of one's own, from an untouched export to pre-annotations, and the notebook that goes on there.

Jupyter's kernel is in no lock, so the notebook's cells run in the shell that such a kernel has, IPython's.
"""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from tests.examples.conftest import HEIGHT_PX, NUM_LABELLED, NUM_NEW, WIDTH_PX
from tests.examples.page import Page
from tests.labelling_tools.conftest import TOOLS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.takes(seconds=300)]
CLASSES = {"ball", "crate", "grass", "ring", "sky", "tent", "water"}
NUM_EVALUATED = 8


class Walk(NamedTuple):
    """What a reader has seen: what each block printed, and the summaries of both models."""

    folder: pathlib.Path
    inspected: str
    trained: tuple[str, str]
    traced: str
    first: dict[str, Any]
    second: dict[str, Any]


def summary_of(folder):
    return json.loads((folder / "runs" / "summary.json").read_text())


@pytest.fixture(scope="module")
def walk(drawn, cvat_export, tmp_path_factory):
    """Every command of the page, in order, in a folder with an export and new photos."""
    folder = tmp_path_factory.mktemp("own_export")
    shutil.copytree(cvat_export, folder / "export")
    shutil.copytree(drawn / "new", folder / "new")
    page = Page("own-export.md", folder, STEPS="40")
    inspected = page.next_block("maskformer inspect")
    told = page.next_block("maskformer pipeline run")
    first = summary_of(folder)
    told_next = page.next_block("maskformer pipeline run")
    page.next_block("maskformer predict")
    traced = page.next_block("maskformer pipeline lineage")
    assert page.is_finished()
    return Walk(folder, inspected, (told, told_next), traced, first, summary_of(folder))


def test_the_export_is_read_whole_and_its_classes_and_photos_are_shown(walk):
    assert "Layout: coco_instances (export of CVAT or Datumaro)" in walk.inspected
    kinds = dict(re.findall(r"^(\w+) +\d+ +(thing|stuff) ", walk.inspected, flags=re.MULTILINE))
    assert kinds.keys() == CLASSES
    assert {name for name, kind in kinds.items() if kind == "stuff"} == {"sky", "grass", "water"}
    photos = re.search(r"^photos +(\d+) +(\d+)$", walk.inspected, flags=re.MULTILINE)
    assert photos and (int(photos[1]), int(photos[2])) == (NUM_LABELLED - NUM_EVALUATED, NUM_EVALUATED)
    assert "<img" in (walk.folder / "inspect-export.html").read_text()


def test_a_first_model_is_pushed_and_its_report_shows_the_photos(walk):
    first = walk.first
    assert (first["pushed_now"], first["kept_aside"], first["images"]) == (True, {}, NUM_EVALUATED)
    assert first["pq"] > 0
    for words in (f"PQ {first['pq']:.4f} ", f"--init {walk.folder / 'runs'} ", first["report"]):
        assert words in walk.trained[0]
    assert "frame_0000" in pathlib.Path(first["report"]).read_text()


def test_a_second_model_starts_from_the_first_is_better_and_is_pushed(walk):
    first, second = walk.first, walk.second
    settings = json.loads((pathlib.Path(second["model_run"]) / "experiment.json").read_text())
    assert settings["task"]["init_checkpoint"] == first["model_run"]
    assert second["pq"] > first["pq"]
    assert second["pushed_now"] and second["pushed_model"] != first["pushed_model"]
    assert f"PQ {second['pq']:.4f} against {first['pq']:.4f} of the last blessed model" in walk.trained[1]
    assert "Most changed images" in pathlib.Path(second["report"]).read_text()
    assert first["model_run"] in walk.traced and second["model_run"] in walk.traced


def test_the_tool_reads_what_the_model_says_of_new_photos(walk, tool_python, tmp_path):
    assert len(list((walk.folder / "labelled" / "overlay").iterdir())) == NUM_NEW
    task = tmp_path / "task" / "cvat_masks"
    shutil.copytree(walk.folder / "new", task / "images")
    shutil.copy(walk.folder / "labelled" / "annotations.xml", task)
    arguments = ["read", str(task.parent), str(tmp_path / "found.npz")]
    subprocess.run([tool_python, str(TOOLS), *arguments], check=True, timeout=300)
    found = {tuple(key.split("/")[1:]): mask for key, mask in np.load(tmp_path / "found.npz").items()}
    assert {photo for photo, _ in found} == {path.stem for path in (walk.folder / "new").iterdir()}
    assert {name for _, name in found} <= CLASSES
    assert all(mask.shape == (HEIGHT_PX, WIDTH_PX) and mask.any() for mask in found.values())


def test_the_notebook_shows_a_photo_its_segments_a_plot_a_fine_tuning_and_its_report(
    walk, project_dir, tmp_path, monkeypatch
):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("STEPS", "5")
    monkeypatch.setenv("PATH", str(pathlib.Path(sys.executable).parent), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(project_dir))
    monkeypatch.chdir(walk.folder)
    from IPython.core.interactiveshell import InteractiveShell

    notebook = json.loads((project_dir / "docs" / "examples" / "five_cells.ipynb").read_text())
    shell, shown = InteractiveShell(), []
    for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        done = shell.run_cell("".join(cell["source"]))
        done.raise_error()
        shown.append(done.result)
    photo, segments, plot, fine_tuning, report = shown
    assert isinstance(photo, Image.Image) and photo.size == plot.size == (WIDTH_PX, HEIGHT_PX)
    assert np.asarray(plot).tolist() != np.asarray(photo).tolist()
    assert segments and {name for name, _, _ in segments} <= CLASSES
    assert fine_tuning.returncode == 0
    third = summary_of(walk.folder)
    settings = json.loads((pathlib.Path(third["model_run"]) / "experiment.json").read_text())
    assert settings["task"]["init_checkpoint"] == walk.second["model_run"]
    assert (walk.folder / report.src).samefile(third["report"])
    assert f"PQ {third['pq']:.4f} against {walk.second['pq']:.4f} of the last blessed model" in third["verdict"][-1]
