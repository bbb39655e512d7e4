"""Tests of `pipeline.retraining.alerts`, against a server on this machine."""

import pytest

from pipeline.retraining.alerts import AlertError, post, read_webhook
from tests.pipeline.webhook import listening


def test_an_alert_arrives_as_json():
    with listening() as (url, told):
        post(url, {"text": "span-3: pushed.", "pq": 0.5})
    assert told == [{"text": "span-3: pushed.", "pq": 0.5}]


def test_an_alert_that_nobody_takes_is_an_error_that_keeps_the_address_secret():
    with listening(status=500) as (url, _), pytest.raises(AlertError, match="status 500") as refused:
        post(url, {"text": "a"})
    with pytest.raises(AlertError, match="was not reached") as unreached:
        post(url, {"text": "a"})
    assert "secret" not in f"{refused.value}{unreached.value}"


def test_the_address_may_be_in_a_file(tmp_path):
    assert read_webhook("") == ""
    assert read_webhook("https://example.com/hook") == "https://example.com/hook"
    (tmp_path / "hook").write_text("https://example.com/hook\n")
    assert read_webhook(str(tmp_path / "hook")) == "https://example.com/hook"
    (tmp_path / "hook").write_text("example.com")
    with pytest.raises(ValueError, match="must be a URL, or a file that holds one"):
        read_webhook(str(tmp_path / "hook"))
    with pytest.raises(FileNotFoundError):
        read_webhook(str(tmp_path / "nothing"))
