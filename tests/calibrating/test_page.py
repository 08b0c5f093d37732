"""The pages of a recalibration and of prediction sets, in a browser: charts, tables, small screens, hostile names."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pages import DARK, LIGHT, contrast, open_page, show

from trueline.calibrating import conform, recalibrate
from trueline.predictions import PredictionSet, from_arrays

HOSTILE = "</script><script>alert(1)</script>"
KINDS = ("recalibration", "sets", "pictured")


def _predictions(*, classes: int = 3, pictured: bool = False) -> PredictionSet:
    generator = torch.Generator().manual_seed(0)
    honest = 1.5 * torch.randn(300, classes, generator=generator, dtype=torch.float64)
    labels = honest.softmax(1).multinomial(1, generator=generator).squeeze(1)
    images = torch.randint(256, (300, 8, 8), generator=generator).to(torch.uint8) if pictured else None
    names = [HOSTILE, "w" * 60, "owl", *map(str, range(3, classes))]
    groups = [HOSTILE if row % 2 else "south" for row in range(300)]
    return from_arrays(labels, logits=2 * honest, name="net", class_names=names, groups=groups, images=images)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pages")
    made: dict[str, Path] = {
        "recalibration": recalibrate(_predictions()).write_html(folder / "recalibration.html"),
        "sets": conform(_predictions(classes=11), alpha=0.1, method="aps").write_html(folder / "sets.html"),
        "pictured": conform(_predictions(pictured=True), alpha=0.2).write_html(folder / "pictured.html"),
    }
    return {name: path.as_uri() for name, path in made.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_charts_are_drawn_without_errors_or_requests(browser: Any, pages: dict[str, str], kind: str) -> None:
    open_page(browser, pages[kind])
    marks = browser.execute_script(
        "return [...document.querySelectorAll('.chart')]"
        ".map(c => c.querySelectorAll('.mark-symbol, .mark-rect').length)"
    )
    assert len(marks) == (4 if kind == "recalibration" else 2)
    assert all(marks)
    labels = browser.execute_script(
        "return [...document.querySelectorAll('.role-axis-label text')].map(t => t.textContent)"
    )
    assert "10" in labels or kind != "sets"
    assert not [label for label in labels if "e+" in label]
    assert browser.get_log("browser") == []
    requests = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in requests if not name.startswith(("data:", "file:"))] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_scrolls_sideways(browser: Any, pages: dict[str, str], kind: str, width: int) -> None:
    open_page(browser, pages[kind], width=width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_names_appear_as_text(browser: Any, pages: dict[str, str], kind: str) -> None:
    open_page(browser, pages[kind])
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert HOSTILE in browser.find_element("css selector", "main").text
    assert browser.execute_script("return document.querySelectorAll('main script').length") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_everything_has_its_words(browser: Any, pages: dict[str, str], kind: str) -> None:
    open_page(browser, pages[kind])
    assert browser.execute_script("return document.querySelectorAll('th:not([scope]), img:not([alt])').length") == 0
    names = browser.execute_script(
        "return [...document.querySelectorAll('[role=img], [role=region], nav, section')]"
        ".map(e => e.ariaLabel || document.getElementById(e.getAttribute('aria-labelledby'))?.innerText)"
    )
    assert all(names)
    targets = browser.execute_script("return [...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))")
    assert all(browser.execute_script(f"return !!document.getElementById('{target}')") for target in targets)


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_words_can_be_read(browser: Any, pages: dict[str, str], scheme: str) -> None:
    open_page(browser, pages["recalibration"], scheme=scheme)
    show(browser, scheme)
    colours = browser.execute_script(
        "const of = (e, p) => getComputedStyle(e)[p];"
        "return [of(document.body, 'backgroundColor'), ...['p', 'small', 'figcaption'].map("
        "tag => of(document.querySelector('main ' + tag), 'color'))]"
    )
    assert all(contrast(colours[0], colour) >= 4.5 for colour in colours[1:])


def test_the_choice_and_the_groups_stand_on_the_page(browser: Any, pages: dict[str, str]) -> None:
    open_page(browser, pages["recalibration"])
    assert "TemperatureScaling" in browser.find_element("id", "choice").text
    assert "south" in browser.find_element("id", "groups").text
    assert "trueline.load" in browser.find_element("id", "use").text


def test_pictures_of_the_largest_sets_are_shown(browser: Any, pages: dict[str, str]) -> None:
    open_page(browser, pages["pictured"])
    assert len(browser.find_elements("css selector", "#largest img")) == 24
    open_page(browser, pages["sets"])
    assert len(browser.find_elements("css selector", "#largest tbody tr")) == 24
