"""What every test shares: a quiet environment, set before TensorFlow is imported, shared data, and a browser."""

from __future__ import annotations

import collections
import gc
import os
import pathlib
from collections.abc import Iterator

import pytest

from tests.browser import MISSING, Browser, find_program

# TensorFlow, Keras and gRPC read these once, when they are imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Without it TensorFlow and Google's clients look for a cloud machine's account first, and wait where there is none.
os.environ.setdefault("NO_GCE_CHECK", "true")

# TensorFlow, Keras and Beam make millions of objects that stay. Python's default looks through them so often that it
# takes a twentieth of all tests' time.
gc.set_threshold(20_000, 10, 10)

PROJECT_DIR = pathlib.Path(__file__).resolve().parent.parent


@pytest.hookimpl(trylast=True)  # After the tests that do not run are taken out.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take longest first, so that no process is left alone with one of them at the end."""
    count = collections.Counter(item.path for item in items)
    marked = {item.path: marker.kwargs["seconds"] for item in items if (marker := item.get_closest_marker("takes"))}
    items.sort(key=lambda item: (-marked.get(item.path, 0), -count[item.path], str(item.path)))


@pytest.fixture(scope="session")
def project_dir() -> pathlib.Path:
    """The root of the checkout."""
    return PROJECT_DIR


@pytest.fixture(scope="session")
def shared_dir() -> pathlib.Path:
    """The folder `shared` beside the checkout: real COCO photos and the reference's numbers.

    It is not part of the repository, so a test that needs it is skipped where it is absent. A build server always has
    it: there (`CI` is set) its absence is an error and not a silent hole in the tests.
    """
    directory = PROJECT_DIR.parent / "shared"
    if not directory.is_dir():
        message = f"The folder of shared data must stand beside the checkout. Not found: {directory}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return directory


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator[Browser]:
    """Headless Chromium. Skips where it is not installed; on a build server (`CI` is set) that is an error."""
    program = find_program()
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    chromium = Browser(program, tmp_path_factory.mktemp("chromium"))
    yield chromium
    chromium.close()
