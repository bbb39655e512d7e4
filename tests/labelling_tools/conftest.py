"""The environment of the labelling tools' packages, and small photos with their truth for them."""

from __future__ import annotations

import os
import pathlib
import subprocess

import numpy as np
import pytest
from PIL import Image

from tests.conftest import PROJECT_DIR

HEIGHT, WIDTH, NUM_PHOTOS = 48, 64, 6
TOOLS = pathlib.Path(__file__).parent / "tools.py"


def truth(number: int) -> dict[str, np.ndarray]:
    """A ball that moves and a crate, as rectangles, so that every form holds them exactly."""
    ball, crate = np.zeros((2, HEIGHT, WIDTH), bool)
    ball[5:20, 5 + number : 30] = True
    crate[25:40, 35:50] = True
    return {"ball": ball, "crate": crate}


@pytest.fixture(scope="session")
def tool_python() -> str:
    """Python of an environment with datumaro, label-studio-sdk and labelme, which do not fit beside TFX."""
    program = os.environ.get("LABELLING_PYTHON") or str(PROJECT_DIR / ".venv-labelling" / "bin" / "python")
    if not os.path.exists(program):
        message = f"The packages of labelling tools are not installed (make env-labelling). Not found: {program}"
        # A build server has no reason to leave them out.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return program


@pytest.fixture(scope="session")
def exports_dir(tool_python, tmp_path_factory) -> pathlib.Path:
    """Folders as the tools' own packages write them."""
    root = tmp_path_factory.mktemp("labelling")
    photos = root / "photos"
    photos.mkdir()
    masks = {}
    for number in range(NUM_PHOTOS):
        pixels = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"p{number}.jpg")
        masks |= {f"p{number}.jpg/{name}": mask for name, mask in truth(number).items()}
    np.savez_compressed(root / "masks.npz", **masks)  # type: ignore[arg-type]
    arguments = ["export", str(photos), str(root / "masks.npz"), str(root / "exports")]
    subprocess.run([tool_python, str(TOOLS), *arguments], check=True, timeout=300)
    return root / "exports"
