"""In a notebook an audit is text, and where the charts can be drawn, HTML that needs no script."""

import importlib.util
import re
from xml.etree import ElementTree

import pytest
from pages import contrast

from trueline.auditing import Audit, audit
from trueline.auditing._notebook import mimebundle
from trueline.page import nats, points

from .conftest import HOSTILE, made_up


@pytest.fixture(scope="module")
def found() -> Audit:
    logits, labels = made_up(300, 4)
    return audit(labels, logits={HOSTILE: logits, "other": 0.5 * logits}, title=HOSTILE)


@pytest.fixture(scope="module")
def html(found: Audit) -> str:
    return mimebundle(found)["text/html"]


def pictures(html: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


def texts(picture: ElementTree.Element) -> list[str]:
    return [text for element in picture.iter() if (text := (element.text or "").strip())]


def test_the_text_is_the_verdict(found: Audit) -> None:
    assert mimebundle(found)["text/plain"] == str(found) == "\n\n".join(found.verdict)


def test_without_the_extra_there_is_only_text(found: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "vl_convert" else find(name))
    assert list(mimebundle(found)) == ["text/plain"]


def test_the_main_scores_of_every_model_are_there(found: Audit, html: str) -> None:
    for model in found.models:
        scores = model.evaluation.scores
        assert points(scores["accuracy"].value) in html
        assert nats(scores["log_loss"].value) in html


def test_each_model_has_two_charts_and_all_share_one(html: str) -> None:
    assert [sorted({"accuracy", "confidence", "share answered"} & set(texts(p))) for p in pictures(html)] == [
        ["accuracy"], ["confidence"], ["accuracy"], ["confidence"], ["share answered"],
    ]  # fmt: skip
    assert html.count('role="img" aria-label="') == 5


def test_nothing_runs_and_nothing_is_fetched(html: str) -> None:
    assert "<script" not in html
    assert not re.search(r"""\bon\w+=|(?:src|href)=|url\(""", html)


def test_hostile_names_stay_text(html: str) -> None:
    assert "&lt;script&gt;alert(1)" in html
    assert "alert(1)</script>" not in html


def test_colours_are_fixed_and_read_on_light_and_on_dark(html: str) -> None:
    assert "var(--" not in html
    for digits in set(re.findall(r'(?:fill|stroke)="#([0-9a-f]{6})"', html)):
        colour = f"rgb({', '.join(str(int(digits[i : i + 2], 16)) for i in (0, 2, 4))})"
        assert contrast(colour, "rgb(255, 255, 255)") >= 3, digits  # graphics need 3
        assert contrast(colour, "rgb(21, 23, 26)") >= 3, digits
