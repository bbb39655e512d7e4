"""Tests of `components.data_validation.drift_gate`."""

from __future__ import annotations

import json

import pytest

from components.data_validation.drift_gate import check_drift, describe_drift, read_model_facts


def facts(**shares):
    """Facts with these shares of the segments by class; the pixels are shared equally."""
    classes = [{"name": name, "segment_share": share, "pixel_share": 1 / len(shares)} for name, share in shares.items()]
    return {"classes": classes}


def test_the_largest_change_of_a_share_is_what_counts():
    before, now = facts(car=0.5, sky=0.3, road=0.2), facts(car=0.25, sky=0.3, road=0.45)
    assert describe_drift(now, before, 0.25) == []
    sentences = describe_drift(now, before, 0.2)
    assert sorted(sentences) == [
        "'car' has 25.0% of the segments, it had 50.0%",
        "'road' has 45.0% of the segments, it had 20.0%",
    ]
    assert describe_drift(before, before, 0.0) == []


def test_a_class_that_is_new_or_gone_has_no_share_on_the_other_side():
    sentences = describe_drift(facts(car=0.5, sky=0.5), facts(car=1.0), 0.4)
    assert "'sky' has 50.0% of the segments, it had 0.0%" in sentences
    assert "'car' has 50.0% of the labelled pixels, it had 100.0%" in sentences


def test_drift_blocks_or_warns_as_it_is_told():
    with pytest.raises(ValueError, match="The class distribution has changed: 'car' .*; 'sky'"):
        check_drift(["'car' has", "'sky' has"], "block")
    check_drift(["'car' has"], "warn")
    check_drift([], "block")
    with pytest.raises(ValueError, match="`action` must be"):
        check_drift([], "ignore")


def test_the_facts_of_a_model_are_read_where_it_has_any(tmp_path):
    assert read_model_facts(str(tmp_path)) is None
    folder = tmp_path / "Format-Serving" / "assets.extra"
    folder.mkdir(parents=True)
    (folder / "data_facts.json").write_text(json.dumps(facts(car=1.0)))
    assert read_model_facts(str(tmp_path)) == facts(car=1.0)
