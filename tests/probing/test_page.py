"""The page of a probed model in a browser: every chart is drawn, on small screens and on dark ones."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pages import DARK, LIGHT, contrast, open_page
from torch import nn

from trueline.data import Examples
from trueline.probing import ProbingFindings, probe_subject, write_page
from trueline.subjects import Subject

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def found() -> Iterator[ProbingFindings]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(40, 1, 4, 4, generator=generator)
    true = (images.flatten(1)[:, 0] > 0.5).long()
    given = true.clone()
    given[:8] = 1 - given[:8]
    parts = {
        "train": Examples(images, given, true, (HOSTILE, "w" * 60), torch.arange(40)),
        "test": Examples(images.flip(0), true.flip(0), true.flip(0), (HOSTILE, "w" * 60), torch.arange(40)),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2))
    start = {name: 0.5 * tensor for name, tensor in model.state_dict().items()}
    subject = Subject(f"net {HOSTILE}", model, parts, (HOSTILE, "w" * 60), {"data": "made up"})
    what = [
        "jacobian",
        "regions",
        "sharpness",
        "bound",
        "arrangement",
        "initialisation",
        "criticality",
        "slice",
        "nuclear",
    ]
    yield probe_subject(subject, [*what, "collapse"], samples=12, initial=start)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def file(found: ProbingFindings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(found, tmp_path_factory.mktemp("page") / "probe.html")


def test_every_chart_is_drawn_without_errors_or_requests(browser: Any, file: Path, found: ProbingFindings) -> None:
    open_page(browser, file.as_uri())
    marks = browser.execute_script(
        "return [...document.querySelectorAll('.chart')]"
        ".map(c => [...c.querySelectorAll('[class*=mark-] path, [class*=mark-] line')].length)"
    )
    assert len(marks) == sum(len(probe.found.records) for probe in found.measured if probe.found)
    assert all(marks)
    assert browser.get_log("browser") == []
    requests = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in requests if not name.startswith(("data:", "file:"))] == []


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_scrolls_sideways(browser: Any, file: Path, width: int) -> None:
    open_page(browser, file.as_uri(), width=width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_every_chart_and_table_has_its_words(browser: Any, file: Path) -> None:
    open_page(browser, file.as_uri())
    assert browser.execute_script("return document.querySelectorAll('th:not([scope]), img:not([alt])').length") == 0
    names = browser.execute_script(
        "return [...document.querySelectorAll('[role=img], [role=region], nav, section, article')]"
        ".map(e => e.ariaLabel || document.getElementById(e.getAttribute('aria-labelledby'))?.innerText)"
    )
    assert all(names)
    identities = browser.execute_script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(set(identities)) == len(identities)


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_words_stand_out_from_the_page(browser: Any, file: Path, scheme: str) -> None:
    open_page(browser, file.as_uri(), scheme=scheme)
    script = """const colour = (place, name) => getComputedStyle(document.querySelector(place))[name];
    return [colour('.question', 'color'), colour('body', 'backgroundColor')]"""
    assert contrast(*browser.execute_script(script)) >= 4.5


def test_the_file_is_complete_in_itself(file: Path, found: ProbingFindings) -> None:
    text = file.read_text()
    assert len(text) < 3_000_000
    assert not re.search(r"@import|url\(", text.split("<style>")[1].split("</style>")[0])
    assert HOSTILE not in text
    assert re.findall(r"<h(\d)", text.split("<main>")[1].split("</main>")[0]) == ["2", "2", *["3"] * 10, "2", "2"]
    assert all(reference.title in text for reference in found.references)
    assert "where the label is wrong" in text
    assert "In the words of the literature" in text


def test_what_was_left_out_stands_on_the_page_with_its_reason(tmp_path: Path) -> None:
    inputs, labels = torch.randn(6, 2), torch.tensor([0, 1, 0, 1, 0, 1])
    part = Examples(inputs, labels, labels, ("no", "yes"), torch.arange(6))
    subject = Subject("line", nn.Linear(2, 2), {"test": part}, ("no", "yes"), {})
    none = probe_subject(subject, ["arrangement", "initialisation"])
    text = write_page(none, tmp_path / "probe.html").read_text()
    assert "the model has no convolution with a kernel of more than one pixel" in text
    assert "0 of 2 probes measured" in text
