"""Take the picture of the page in docs/serving.md, of a service over the embedded data set.

    recbole-tinynews serve saved/mind-mini/TinyNewsRec-... saved/mind-mini/finetune_teacher-... \
        --news=dataset/mind-mini/mind-mini.item
    python docs/screenshot.py [--url=http://127.0.0.1:8000] [--output=docs/images/page.png]

Needs the extra ``test`` (Playwright, Pillow) and Chromium. The titles are synthetic.
"""

from __future__ import annotations

import argparse
import shutil
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

CLICKS = ("N1849", "N1266", "N2118", "N1604", "N478")  # of the first test impression
SIZE = {"width": 1280, "height": 900}
COLORS = 128  # enough for a page with few of them, and a third of the size


def main() -> None:
    """Open the page with a reader, and save what is seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images/page.png")
    given = parser.parse_args()
    clicks = "&".join(f"click=id:{each}" for each in CLICKS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(f"{given.url}/#{clicks}")
        page.wait_for_selector("#columns:not([aria-busy]) .ranking.second")
        picture = Image.open(BytesIO(page.screenshot()))
        browser.close()
    picture.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(
        given.output, optimize=True
    )
    print(f"written: {given.output}, {given.output.stat().st_size / 1e3:.0f} KB")


if __name__ == "__main__":
    main()
