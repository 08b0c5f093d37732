"""The page of a steered run in a browser: charts, the slider over the plane, small screens, dark screens."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pages import DARK, LIGHT, contrast, open_page, show
from torch import nn

from trueline.data import Examples
from trueline.steering import SteeringOptions, steer_run
from trueline.subjects import subject_of_model

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(160, 2, generator=generator)
    labels = (inputs[:, 0] * inputs[:, 1] > 0).long()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
    examples = Examples(inputs, labels, labels, (HOSTILE, "w" * 60), torch.arange(160))
    options = SteeringOptions(beta=0.5, betas=(0.0, 0.5, 0.75), radius=0.1, samples=20)
    out = tmp_path_factory.mktemp("page") / "steered"
    yield steer_run(subject_of_model(model, examples, name="quadrants"), out, options).path
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "steering.html").as_uri()


def drawn(browser: Any) -> Any:
    script = """const canvas = document.getElementById('canvas');
    const seen = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let sum = 0;
    for (let i = 0; i < seen.length; i += 1) sum = (sum * 31 + seen[i]) % 1000000007;
    return [document.documentElement.dataset.drawn, sum, canvas.getAttribute('aria-label')]"""
    return browser.execute_script(script)


def wait_for(condition: Callable[[], bool]) -> bool:
    """The page hears of another scheme a frame later."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_every_chart_is_drawn_without_errors_or_requests(browser: Any, page: str) -> None:
    open_page(browser, page)
    titles = browser.execute_script("return [...document.querySelectorAll('#curves figcaption')].map(c => c.innerText)")
    assert titles == [
        "Accuracy", "Log loss", "Calibration error (ECE)", "Robust accuracy", "Normalised curvature"
    ]  # fmt: skip
    marks = browser.execute_script(
        "return [...document.querySelectorAll('.chart')].map(c => c.querySelectorAll('.mark-symbol path').length)"
    )
    assert all(count >= 4 for count in marks)
    assert browser.get_log("browser") == []
    requests = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in requests if not name.startswith(("data:", "file:"))] == []


def test_keys_move_the_slider_and_another_boundary_is_drawn(browser: Any, page: str) -> None:
    from selenium.webdriver.common.keys import Keys

    open_page(browser, page)
    slider = browser.find_element("id", "beta")
    stop, first, words = drawn(browser)
    assert stop == "1"
    assert words.startswith("At β = 0.5, chosen, the model answers")
    slider.send_keys(Keys.HOME)
    stop, second, words = drawn(browser)
    assert stop == "0"
    assert words.startswith("At β = 0, the model answers")
    assert second != first
    assert browser.find_element("id", "beta-value").text == "0"
    slider.send_keys(Keys.END)
    assert drawn(browser)[2].startswith("At β = 1, the model as it was, the model answers")
    assert "answers otherwise" not in drawn(browser)[2]
    assert slider.get_attribute("aria-valuetext") == "β = 1, the model as it was"


def test_buttons_jump_to_the_chosen_beta_and_to_the_original(browser: Any, page: str) -> None:
    open_page(browser, page)
    original, asked = browser.find_elements("css selector", "[data-stop]")
    assert (original.text, asked.text) == ("the model as it was", "asked for")
    original.click()
    assert drawn(browser)[0] == "3"
    assert original.get_attribute("aria-pressed") == "true"
    asked.click()
    assert drawn(browser)[0] == "1"
    assert original.get_attribute("aria-pressed") == "false"


def test_the_plane_follows_the_colour_scheme(browser: Any, page: str) -> None:
    open_page(browser, page)
    light = drawn(browser)[1]
    show(browser, DARK)
    assert wait_for(lambda: drawn(browser)[1] != light)
    show(browser, LIGHT)
    assert wait_for(lambda: drawn(browser)[1] == light)


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_scrolls_sideways(browser: Any, page: str, width: int) -> None:
    open_page(browser, page, width=width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_hostile_class_names_appear_as_text(browser: Any, page: str) -> None:
    open_page(browser, page)
    assert HOSTILE in browser.find_element("css selector", "#plane-figure .legend").text
    assert HOSTILE in browser.find_element("id", "plane-says").text
    assert browser.execute_script("return document.querySelectorAll('#plane-figure script').length") == 0


def test_every_chart_table_and_canvas_has_its_words(browser: Any, page: str) -> None:
    open_page(browser, page)
    assert browser.execute_script("return document.querySelectorAll('th:not([scope]), label:not([for])').length") == 0
    names = browser.execute_script(
        "return [...document.querySelectorAll('[role=img], [role=region], nav, section')]"
        ".map(e => e.ariaLabel || document.getElementById(e.getAttribute('aria-labelledby'))?.innerText)"
    )
    assert all(names)


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_controls_stand_out_from_the_page(browser: Any, page: str, scheme: str) -> None:
    open_page(browser, page, scheme=scheme)
    script = """const colour = (place, name) => getComputedStyle(document.querySelector(place))[name];
    return [colour('[data-stop]', 'color'), colour('body', 'backgroundColor')]"""
    assert contrast(*browser.execute_script(script)) >= 4.5


def test_the_file_is_complete_in_itself(folder: Path) -> None:
    text = (folder / "steering.html").read_text()
    assert len(text) < 2_000_000
    assert not re.search(r"@import|url\(", text.split("<style>")[1].split("</style>")[0])
    assert HOSTILE not in text
    assert re.findall(r"<h(\d)", text.split("<main>")[1].split("</main>")[0]) == ["2"] * 7
    assert "Auto-PGD on the cross-entropy, 10 steps" in text
    assert "Curvature Tuning" in text
