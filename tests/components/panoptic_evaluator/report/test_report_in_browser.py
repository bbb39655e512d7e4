"""The report as a reader meets it: sorted, zoomed, by keyboard, in the dark, on a phone, with no network at all."""

from __future__ import annotations

import os
import pathlib

import pytest

from components.panoptic_evaluator.report.page import render_report
from tests.components.report_pages import report_of_scenes

PHONE_PX = 375


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_report(report_of_scenes(path.parent / "scenes")), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def pictures_dir(tmp_path_factory) -> pathlib.Path:
    """Where screenshots go: the folder of SCREENSHOTS_DIR, from which the README takes its own, or a temporary one."""
    return pathlib.Path(os.environ.get("SCREENSHOTS_DIR") or tmp_path_factory.mktemp("pictures"))


def column(browser, table, number):
    return browser.evaluate(
        f"[...document.querySelectorAll('{table} tbody tr')].map(row => "
        f"row.cells[{number}].dataset.value ?? row.cells[{number}].textContent.trim())"
    )


def test_the_class_table_sorts_by_every_column_and_back(browser, page):
    browser.open(page)
    table = "table.classes"
    names = column(browser, table, 0)
    assert len(names) == 7
    browser.click(f"{table} thead th:nth-child(1) button")
    assert column(browser, table, 0) == sorted(names)
    assert browser.evaluate(f"document.querySelector('{table} thead th').getAttribute('aria-sort')") == "ascending"
    browser.click(f"{table} thead th:nth-child(1) button")
    assert column(browser, table, 0) == sorted(names, reverse=True)
    for number in range(2, 10):
        browser.click(f"{table} thead th:nth-child({number + 1}) button")
        values = [float(value) for value in column(browser, table, number) if value]
        assert values == sorted(values, reverse=True)
    assert browser.evaluate(f"document.querySelectorAll('{table} [aria-sort]').length") == 1


def test_a_class_without_a_number_stays_last(browser, page):
    browser.open(page)
    browser.evaluate("document.querySelector('table.classes tbody td[data-value]').dataset.value = ''")
    for _ in range(2):
        browser.click("table.classes thead th:nth-child(3) button")
        assert column(browser, "table.classes", 2)[-1] == ""


def test_a_click_shows_a_picture_at_full_size_and_escape_goes_back(browser, page, pictures_dir):
    browser.open(page)
    browser.click("#best button.zoom")
    assert browser.evaluate("document.getElementById('viewer').open")
    shown = browser.evaluate("(() => { const i = document.querySelector('#viewer img'); "
                             "return [i.clientWidth, i.naturalWidth, i.alt]; })()")  # fmt: skip
    assert shown[0] == shown[1] >= 480
    assert shown[2].startswith("The photo")
    browser.press("ArrowRight")
    assert browser.evaluate("document.querySelector('#viewer img').alt").startswith("True segments")
    browser.screenshot(pictures_dir / "report-picture.png")
    browser.press("Escape")
    assert not browser.evaluate("document.getElementById('viewer').open")
    assert browser.evaluate("document.activeElement === document.querySelectorAll('button.zoom')[1]")


def test_the_keyboard_reaches_sorting_and_pictures(browser, page):
    browser.open(page)
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.className") == "skip"
    browser.evaluate("document.querySelector('table.classes thead button').focus()")
    browser.press("Enter")
    assert browser.evaluate("document.querySelector('table.classes thead th').getAttribute('aria-sort')") == "ascending"
    browser.evaluate("document.querySelector('button.zoom').focus()")
    browser.press(" ")
    assert browser.evaluate("document.getElementById('viewer').open")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width_px", [1280, PHONE_PX])
def test_nothing_is_fetched_nothing_overflows_and_nothing_fails(browser, page, pictures_dir, width_px, scheme):
    browser.prefer(scheme)
    browser.open(page, width_px=width_px, height_px=900)
    assert browser.requests == [page.as_uri()]
    assert browser.console == []
    browser.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    assert browser.overflow_px() == 0
    for name in ("result", "scores", "classes", "confusion", "training", "best", "changed", "data", "model"):
        browser.evaluate(f"document.getElementById('{name}').scrollIntoView({{behavior: 'instant'}})")
        browser.screenshot(pictures_dir / f"report-{name}-{width_px}-{scheme}.png")
    browser.prefer("light")


def test_text_stands_out_from_its_ground_in_both_schemes(browser, page):
    """WCAG's contrast of 4.5 for body text, muted text, good and bad."""
    contrast = """(() => {
      const parse = text => text.match(/[0-9.]+/g).slice(0, 3).map(v => Number(v) / 255);
      const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
      const light = rgb => rgb.map(linear).reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
      const style = selector => getComputedStyle(document.querySelector(selector));
      const pairs = [['.lead', 'body'], ['.badge', '.badge'], ['.reasons > li', '.result'], ['.range', '.result']];
      return pairs.map(([text, ground]) => {
        const [a, b] = [light(parse(style(text).color)), light(parse(style(ground).backgroundColor))];
        return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
      });
    })()"""
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        browser.open(page)
        assert min(browser.evaluate(contrast)) >= 4.5
    browser.prefer("light")
