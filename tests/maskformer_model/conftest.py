"""What several tests of the model share: a small exported model, which takes a while to write."""

import pytest

from tests.maskformer_model.helpers import small_export


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """`(directory, network)` of the small model, the only version in its folder."""
    directory = tmp_path_factory.mktemp("serving") / "1700000000"
    return directory, small_export.export_small(directory)
