"""The page of all runs: what it lists, which run it says serves, and that a phone and an offline reader can use it."""

from __future__ import annotations

import pathlib

import pytest

from pipeline import rollback
from pipeline.local_run import runs_page


def summary(root, number, pq, *, pushed=None, state="succeeded", report=True):
    path = root / f"report-{number}.html"
    if report:
        path.write_text("<title>report</title>")
    return {
        "run_id": f"r{number}",
        "started": f"2026-11-0{number}T10:00:00+00:00",
        "seconds": 12.4,
        "state": state,
        "failure": None if state == "succeeded" else {"component": "Trainer", "reason": "<b>no</b> memory"},
        "experiment": "coco_small",
        "images": 60,
        "pq": pq,
        "pq_interval": None if pq is None else [pq - 0.1, pq + 0.1],
        "pq_change": None,
        "blessed": pushed is not None,
        "verdict": ["PQ reaches the floor."],
        "pushed_model": str(pushed) if pushed else None,
        "pushed_now": pushed is not None,
        "report": str(path) if report else None,
    }


@pytest.fixture
def root(tmp_path):
    """Three runs: one that was pushed, a worse one that was not, and one that failed."""
    version = tmp_path / "serving" / "100"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    for run in (
        summary(tmp_path, 1, 0.5, pushed=version),
        summary(tmp_path, 2, 0.25),
        summary(tmp_path, 3, None, state="failed", report=False),
    ):
        runs_page.record_run(str(tmp_path), str(tmp_path / "serving"), run)
    return tmp_path


def test_every_run_is_listed_and_the_one_that_serves_is_named(root):
    page = (root / "index.html").read_text()
    assert [page.index(f'id="run-{number}"') for number in (3, 2, 1)] == sorted(
        page.index(f'id="run-{number}"') for number in (1, 2, 3)
    )
    assert 'The model of <a href="#run-1">run 1</a> serves, with a PQ of 0.500.' in page
    assert page.count("serves now</span>") == 1
    assert 'href="report-1.html"' in page
    assert "&lt;b&gt;no&lt;/b&gt; memory" in page


def test_a_newer_version_of_another_run_serves_from_then_on(root):
    newer = root / "serving" / "200"
    newer.mkdir()
    (newer / "saved_model.pb").touch()
    runs_page.record_run(str(root), str(root / "serving"), summary(root, 4, 0.75, pushed=newer))
    assert 'The model of <a href="#run-4">run 4</a> serves' in (root / "index.html").read_text()


def test_a_rollback_writes_the_page_anew(root):
    newer = root / "serving" / "200"
    newer.mkdir()
    (newer / "saved_model.pb").touch()
    runs_page.record_run(str(root), str(root / "serving"), summary(root, 4, 0.75, pushed=newer))
    assert rollback.main(["--root", str(root)]) == 0
    assert 'The model of <a href="#run-1">run 1</a> serves' in (root / "index.html").read_text()


def test_what_serves_may_come_from_elsewhere_or_be_nothing(root, tmp_path_factory):
    other = root / "serving" / "300"
    other.mkdir()
    (other / "saved_model.pb").touch()
    assert "The model that serves was not pushed by a run in this list." in runs_page.render_index(
        str(root), str(root / "serving")
    )
    nowhere = tmp_path_factory.mktemp("nowhere")
    assert "No model serves yet." in runs_page.render_index(str(root), str(nowhere))


def test_a_report_that_is_gone_is_not_linked(root):
    (root / "report-1.html").unlink()
    assert "report-1.html" not in runs_page.render_index(str(root), str(root / "serving"))


def test_the_chart_has_a_point_per_run_that_came_to_a_pq():
    runs = [
        {"pq": pq, "pq_interval": None, "number": number, "serves": False}
        for number, pq in enumerate((0.0, None, 1.0), start=1)
    ]
    first, last = runs_page.chart_points(runs)
    assert (first.x, last.x) == (40 + 16, runs_page.WIDTH - 12 - 16)
    assert (first.y, last.y) == (runs_page.HEIGHT - 22, 12)
    assert last.label == "Run 3: PQ 1.000"


def test_in_a_browser_it_fetches_nothing_fits_a_phone_and_opens_a_report(browser, root, tmp_path):
    index = root / "index.html"
    for width_px in (1280, 375):
        for scheme in ("light", "dark"):
            browser.prefer(scheme)
            browser.open(index, width_px=width_px, height_px=800)
            assert browser.overflow_px() == 0
            assert browser.requests == [pathlib.Path(index).as_uri()]
            assert browser.console == []
            browser.screenshot(tmp_path / f"index-{width_px}-{scheme}.png")
    browser.prefer("light")
    browser.click('a[href="report-2.html"]')
    assert browser.wait_for("document.title === 'report'")


def test_the_page_is_made_past_a_damaged_run_and_a_damaged_list_of_spans(root):
    with open(root / runs_page.RUNS_FILE, "ab") as file:
        file.write(b'{"run_id": "tw')
    (root / "retrain").mkdir()
    (root / runs_page.SPANS_FILE).write_text('{"spans": [')
    runs_page.record_run(str(root), str(root / "serving"), summary(root, 4, 0.75))
    page = (root / "index.html").read_text()
    assert "0.750" in page and "0.500" in page
