"""Tests of `pipeline.retraining.spans`: which folders are spans, and which of them are whole."""

import shutil

import pytest

from pipeline.retraining import spans
from pipeline.retraining.spans import NotWholeError, check_whole, find_spans, parse_names, span_regex, stated_manifest


@pytest.mark.parametrize(
    ("pattern", "name", "fields"),
    [
        ("span-{SPAN}", "span-12", {"span": "12"}),
        ("span-{SPAN:3}", "span-012", {"span": "012"}),
        ("span-{SPAN:3}", "span-12", None),
        ("span-{SPAN}", "span-12.part", None),
        ("s{SPAN}/v{VERSION}", "s4/v2", {"span": "4", "version": "2"}),
        ("{YYYY}-{MM}-{DD}", "2026-01-31", {"year": "2026", "month": "01", "day": "31"}),
        ("{YYYY}-{MM}-{DD}", "2026-1-31", None),
    ],
)
def test_a_pattern_says_which_folders_are_spans(pattern, name, fields):
    match = span_regex(pattern).fullmatch(name)
    assert (match and match.groupdict()) == fields


@pytest.mark.parametrize("pattern", ["data", "span-{SPAN}-{SPAN}", "{YYYY}-{MM}", "{NAME}", "v{VERSION}"])
def test_a_pattern_that_does_not_number_the_spans_is_refused(pattern):
    with pytest.raises(ValueError, match="A span pattern"):
        span_regex(pattern)


def test_the_newest_version_of_each_span_is_found_in_the_order_of_their_numbers(tmp_path):
    for name in ("s10/v1", "s2/v1", "s2/v10", "s2/v9", "other/v1", "s3"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "s4").write_text("no folder")
    found = find_spans(str(tmp_path), "s{SPAN}/v{VERSION}")
    assert [(span.name, span.number, span.version) for span in found] == [("s2/v10", 2, 10), ("s10/v1", 10, 1)]
    assert found[0].path == f"{tmp_path}/s2/v10"


def test_dates_number_spans_too(tmp_path):
    for name in ("2026-02-01", "2025-12-31"):
        (tmp_path / name).mkdir()
    assert [span.number for span in find_spans(str(tmp_path), "{YYYY}-{MM}-{DD}")] == [20251231, 20260201]


def test_a_folder_that_is_not_there_is_an_error_and_not_an_empty_one(tmp_path):
    assert find_spans(str(tmp_path)) == []
    with pytest.raises(FileNotFoundError, match="must exist"):
        find_spans(str(tmp_path / "nothing"))


def test_spans_are_named_one_by_one_or_by_ranges():
    assert parse_names("3, 7-9") == [3, 7, 8, 9]
    for text in ("", "a", "9-7", "3,,4"):
        with pytest.raises(ValueError, match="3,7-9"):
            parse_names(text)


def test_a_span_is_whole_when_every_file_is_as_its_manifest_says(drawn_spans, tmp_path):
    path = shutil.copytree(drawn_spans / "span-1", tmp_path / "span-1")
    [span] = find_spans(str(tmp_path))
    stated = stated_manifest(span)
    check_whole(span, stated)
    photo = next((path / "train2017").iterdir())
    content = photo.read_bytes()
    for damage in (lambda: photo.write_bytes(content[:-1]), photo.unlink):
        damage()
        with pytest.raises(NotWholeError, match=f"(changed|gone): train2017/{photo.name}"):
            check_whole(span, stated)
    photo.write_bytes(content)
    check_whole(span, stated)


def test_a_span_without_a_whole_manifest_is_not_whole(drawn_spans, tmp_path):
    path = shutil.copytree(drawn_spans / "span-1", tmp_path / "span-1")
    [span] = find_spans(str(tmp_path))
    manifest = path / spans.data_manifest.MANIFEST_FILE
    manifest.write_text(manifest.read_text()[:-10])
    with pytest.raises(NotWholeError, match="not whole"):
        stated_manifest(span)
    manifest.unlink()
    with pytest.raises(NotWholeError, match="not there yet"):
        stated_manifest(span)
