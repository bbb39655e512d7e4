"""The README's picture of the page: `python -m tests.maskformer_model.serve.page_picture --model DIR --output FILE`.

Serves the model, draws a scene as `make demo` does (never a photo of somebody), drops it on the page in headless
Chromium, and puts the mouse on the smallest segment of at least a hundredth of the scene.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile

from tests.browser import MISSING, Browser, find_program
from tests.maskformer_model.helpers.small_export import encoded
from tests.maskformer_model.serve.running_server import RunningServer

SIZE_PX = (1100, 560)
SCENE_PX = (384, 480)  # Height and width.
SCENE_SEED = 11
# The middle one of the pixels of the smallest segment that covers a hundredth of the photo, on the visible page.
_ON_A_SEGMENT = """(() => {
  const fit = segments.filter(one => one.area > ids.length / 100).sort((a, b) => a.area - b.area);
  const own = [...ids.keys()].filter(i => ids[i] === fit[0].id), middle = own[Math.floor(own.length / 2)];
  const box = canvas.getBoundingClientRect(), scale = box.width / photo.width;
  return [box.x + (middle % photo.width + .5) * scale, box.y + (Math.floor(middle / photo.width) + .5) * scale];
})()"""


def take(browser: Browser, address: str, output: pathlib.Path, scene_px: tuple[int, int] = SCENE_PX) -> pathlib.Path:
    """Writes a picture of the page at an address, as PNG or JPEG; the page stays open."""
    import numpy as np
    from PIL import Image

    from maskformer_model.scenes.drawing import draw_scene

    with tempfile.TemporaryDirectory() as folder:
        photo = pathlib.Path(folder, "scene.png")
        photo.write_bytes(encoded(draw_scene(np.random.default_rng(SCENE_SEED), *scene_px).photo))
        browser.prefer("light")
        browser.open(address, width_px=SIZE_PX[0], height_px=SIZE_PX[1])
        browser.drop_files("#drop", [photo])
        browser.wait_for("document.body.dataset.state === 'done'")
        browser.hover(*browser.evaluate(_ON_A_SEGMENT))
        browser.wait_for("!tip.hidden")
        with Image.open(browser.screenshot(pathlib.Path(folder, "page.png"))) as picture:
            picture.convert("RGB").save(output, quality=90, optimize=True)
    return output


def shown_name(browser: Browser) -> str:
    """The class under the mouse."""
    return browser.evaluate("tip.textContent").partition(",")[0]


def main() -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a SavedModel, or a folder of versions")
    parser.add_argument("--output", required=True, type=pathlib.Path, help="a .png or .jpg")
    args = parser.parse_args()
    program = find_program()
    if program is None:
        parser.error(MISSING)
    with tempfile.TemporaryDirectory() as profile:
        server, browser = RunningServer(args.model), Browser(program, profile)
        try:
            take(browser, server.wait_until_ready().address, args.output)
            print(f"{args.output}: the mouse is on {shown_name(browser)}")
        finally:
            browser.close()
            server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
