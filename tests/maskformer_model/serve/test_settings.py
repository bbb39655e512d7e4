"""Settings of a server that cannot work are refused."""

import pytest

from maskformer_model.serve.settings import ServerSettings


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_batch", 0, "`max_batch` must be positive. Received: 0"),
        ("timeout_s", -1.0, "`timeout_s` must be positive"),
        ("batch_wait_s", -0.1, "`batch_wait_s` must not be negative"),
        ("max_pixels", -1, "`max_pixels` must not be negative"),
        ("name", "a/b", "`name` must be a word"),
        ("name", "", "`name` must be a word"),
    ],
)
def test_a_value_out_of_range_is_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        ServerSettings(model_dir="m", **{name: value})


def test_no_wait_and_no_limit_of_its_own_are_values():
    assert ServerSettings(model_dir="m", batch_wait_s=0.0, max_pixels=0).max_batch == 8
