"""Pages of tables: words stand before figures, names are code, and each table scrolls inside itself."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from cimeu.plots.charts import scale, whisker
from cimeu.plots.pages import ForestRow, tables_page
from cimeu.tables import Interval, Table

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDE = Table(
    "Wide", tuple(f"column {n}" for n in range(30)), (tuple("1234567890" for _ in range(30)),), ("`a` is n/a.",)
)
ROWS = (ForestRow("full", Interval(0.5, 0.4, 0.6), first=True), ForestRow("a" * 60, Interval(0.3, None, None)))


def page(**changes: object) -> str:
    given = {"kind": "test", "footer": "Limits.", "answer": ["`full` is <above> chance."], "rows": ROWS, "chance": 0.25}
    return tables_page("Title", [WIDE], **(given | changes))


def test_text_is_escaped_and_names_in_backticks_are_code() -> None:
    text = page()
    assert "<code>full</code> is &lt;above&gt; chance." in text
    assert "<code>a</code> is n/a." in text
    assert "`" not in text


def test_a_caution_stands_between_the_answer_and_the_figures() -> None:
    text = page(cautions=["Synthetic data."])
    assert text.index("above") < text.index("Synthetic data.") < text.index('class="forest"')


def test_a_folded_table_opens_on_demand() -> None:
    assert "<details><summary>More</summary>" in page(folded={"More": WIDE})


def test_a_whisker_keeps_its_ends_inside_and_marks_what_is_there() -> None:
    drawing = whisker(1.5, 0.0, 2.0, chance=0.5)
    assert 'cx="97.00%"' in drawing
    assert 'x1="3.00%" y1="9" x2="97.00%"' in drawing
    assert 'x1="50.00%"' in drawing
    assert 'class="range"' not in whisker(0.5, None, None)


def test_a_scale_names_its_axis_for_those_who_cannot_see_it() -> None:
    assert 'aria-label="UAR, percent from 0 to 100"' in scale(("0", "50", "100"), "UAR, percent")


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium absent: install Debian's package `chromium`")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_page_is_no_wider_than_the_screen_and_its_tables_scroll_by_keyboard(tmp_path: Path, width: int) -> None:
    # A name that somebody gave may be one long word.
    content = page(folded={"More": WIDE}, answer=["W" * 119], footer="W" * 119)
    (tmp_path / "page.html").write_text(content, encoding="utf-8")
    sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        opened = browser.new_page(viewport={"width": width, "height": 800})
        opened.goto((tmp_path / "page.html").as_uri())
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
        opened.keyboard.press("Tab")
        assert opened.evaluate("document.activeElement.getAttribute('aria-label')") == "Wide"
        opened.keyboard.press("ArrowRight")
        opened.wait_for_function("document.activeElement.scrollLeft > 0")
        opened.keyboard.press("Tab")
        opened.keyboard.press("Enter")
        assert opened.evaluate("document.querySelector('details').open")
        browser.close()
