"""The browser that tests of pages use: it sees what a page asks for, says and shows."""

import pathlib

from PIL import Image

PAGE = """<!doctype html><meta name="viewport" content="width=device-width"><title>page</title>
<style>body {{ margin: 0 }} @media (prefers-color-scheme: dark) {{ body {{ background: #000 }} }}</style>
<button onclick="this.textContent = 'clicked'">button</button><input type="file"><div style="width:{width}px">x</div>
{more}"""


def write_page(tmp_path: pathlib.Path, more: str = "", width: int = 300) -> pathlib.Path:
    path = tmp_path / "page.html"
    path.write_text(PAGE.format(more=more, width=width))
    return path


def test_it_clicks_and_chooses_files(browser, tmp_path):
    browser.open(write_page(tmp_path))
    browser.click("button")
    browser.set_files("input", [tmp_path / "page.html"])
    assert browser.evaluate("document.querySelector('button').textContent") == "clicked"
    assert browser.wait_for("document.querySelector('input').files[0].name") == "page.html"


def test_it_drops_files_as_a_person_does(browser, tmp_path):
    more = (
        "<div id='to' style='height:99px' ondragover='event.preventDefault()'></div><script>"
        "document.querySelector('#to').ondrop = event => { event.preventDefault();"
        " document.title = `${event.isTrusted}, a drop of ` + event.dataTransfer.files[0].name }</script>"
    )
    page = write_page(tmp_path, more)
    browser.open(page)
    browser.drop_files("#to", [page])
    assert browser.wait_for("document.title !== 'page' && document.title") == "true, a drop of page.html"


def test_it_presses_keys(browser, tmp_path):
    browser.open(write_page(tmp_path))
    browser.press("Tab")
    browser.press("Enter")
    assert browser.evaluate("document.activeElement.textContent") == "clicked"


def test_it_keeps_requests_and_errors(browser, tmp_path):
    browser.open(write_page(tmp_path, "<img src='other.png'><img src='data:image/png;base64,'>"))
    assert [address.rsplit("/", 1)[1] for address in browser.requests] == ["page.html", "other.png"]
    browser.open(write_page(tmp_path, "<script>throw new Error('broken')</script>"))
    assert any("broken" in message for message in browser.console)


def test_it_measures_what_overflows(browser, tmp_path):
    browser.open(write_page(tmp_path, width=300), width_px=375)
    assert browser.overflow_px() == 0
    browser.open(write_page(tmp_path, width=400), width_px=375)
    assert browser.overflow_px() == 25


def test_it_takes_pictures_in_either_colour_scheme(browser, tmp_path):
    browser.open(write_page(tmp_path), width_px=500, height_px=200)
    corners = []
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        with Image.open(browser.screenshot(tmp_path / "picture.png")) as picture:
            assert picture.size == (500, 200)
            corners.append(picture.convert("RGB").getpixel((499, 199)))
    browser.prefer("light")
    assert corners == [(255, 255, 255), (0, 0, 0)]
