"""What tests of the pipeline share."""

from __future__ import annotations

import pathlib

import pytest

from tests.pipeline.span_folders import write_span


@pytest.fixture(scope="session")
def drawn_spans(tmp_path_factory) -> pathlib.Path:
    """A folder of `span-1` to `span-3`, to be copied: 6 + 3 scenes each."""
    folder = tmp_path_factory.mktemp("drawn_spans")
    for number in (1, 2, 3):
        write_span(folder, number)
    return folder
