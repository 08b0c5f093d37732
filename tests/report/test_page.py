"""The page in a browser: charts are drawn, dark pages are dark, a phone needs no sideways scrolling."""

import time
from pathlib import Path
from typing import Any

import pytest
from pages import DARK, LIGHT, contrast, open_page, show

from trueline.report import write_report

from .conftest import write_run_folder

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("page")
    runs = [
        write_run_folder(root / "a", name="a", objective="cross_entropy", sharpness=2.5, with_beliefs=False),
        write_run_folder(root / "b", name="b", classes=10, class_names=[HOSTILE] + ["w" * 60] * 9),
    ]
    return write_report(runs, root / "report.html").as_uri()


def colours(browser: Any) -> tuple[str, str]:
    script = """const mark = document.querySelector('.chart .mark-symbol path');
    return [getComputedStyle(document.body).backgroundColor, getComputedStyle(mark).fill]"""
    background, mark = browser.execute_script(script)
    return background, mark


def test_every_chart_is_drawn_without_errors_or_requests(browser: Any, page: str) -> None:
    open_page(browser, page)
    marks = browser.execute_script(
        "return [...document.querySelectorAll('.chart')]"
        ".map(c => c.querySelectorAll('.mark-symbol path, .mark-rect path').length)"
    )
    assert len(marks) == 15
    assert all(marks)
    assert browser.get_log("browser") == []
    requests = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in requests if not name.startswith(("data:", "file:"))] == []


def test_charts_follow_the_colour_scheme_without_a_reload(browser: Any, page: str) -> None:
    open_page(browser, page)
    light = colours(browser)
    show(browser, DARK)
    dark = colours(browser)
    assert light == ("rgb(253, 252, 249)", "rgb(0, 114, 178)")
    assert dark == ("rgb(21, 23, 26)", "rgb(86, 180, 233)")


def test_print_is_light_also_from_a_dark_screen(browser: Any, page: str) -> None:
    open_page(browser, page, scheme=DARK)
    show(browser, DARK, "print")
    assert colours(browser) == ("rgb(255, 255, 255)", "rgb(0, 114, 178)")


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_scrolls_sideways(browser: Any, page: str, width: int) -> None:
    open_page(browser, page, width=width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    widths = browser.execute_script(
        "return [...document.querySelectorAll('.chart svg')].map(s => s.getBoundingClientRect().right)"
    )
    assert max(widths) <= width


def test_charts_fit_a_window_that_shrinks(browser: Any, page: str) -> None:
    open_page(browser, page, width=1280)
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    time.sleep(0.5)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_hostile_class_names_appear_as_text(browser: Any, page: str) -> None:
    open_page(browser, page)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert HOSTILE in browser.execute_script("return document.querySelector('.gallery').parentElement.innerText")
    assert browser.execute_script("return document.querySelectorAll('.gallery script').length") == 0


def test_pictures_are_loaded(browser: Any, page: str) -> None:
    open_page(browser, page)
    sizes = browser.execute_script("return [...document.images].map(i => [i.complete, i.naturalWidth])")
    assert len(sizes) == 200
    assert all(complete and width == 8 for complete, width in sizes)


def test_every_picture_and_table_has_its_words(browser: Any, page: str) -> None:
    open_page(browser, page)
    assert browser.execute_script("return document.querySelectorAll('img:not([alt]), th:not([scope])').length") == 0
    names = browser.execute_script(
        "return [...document.querySelectorAll('[role=img], [role=region], nav, section')]"
        ".map(e => e.ariaLabel || document.getElementById(e.getAttribute('aria-labelledby'))?.innerText)"
    )
    assert all(names)


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_text_and_marks_stand_out_from_the_page(browser: Any, page: str, scheme: str) -> None:
    open_page(browser, page, scheme=scheme)
    script = """const probe = document.body.appendChild(document.createElement('i'));
    const read = name => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
    return Object.fromEntries(arguments[0].map(name => [name, read(name)]))"""
    runs = [f"run-{i}" for i in range(7)]
    found = browser.execute_script(script, ["paper", "ink", "ink-soft", "good", "bad", *runs])
    for name in ("ink", "ink-soft", "good", "bad"):
        assert contrast(found[name], found["paper"]) >= 4.5, name
    for name in runs:
        assert contrast(found[name], found["paper"]) >= 3, name  # graphics need 3, text 4.5


def test_the_file_is_small(page: str) -> None:
    assert Path(page.removeprefix("file://")).stat().st_size < 3_000_000
