"""A page holds everything it needs, allows nothing else, and shows hostile text as text."""

import html
import json
import re
from pathlib import Path

import jinja2
import pytest

from trueline.page import Chart, PageCharts, render_page
from trueline.page._scripts import json_text, policy_hash

HOSTILE = "</script><script>alert('x')</script>&<!--"


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def page(folder: Path, main: str = "", **words: object) -> str:
    template = '{% extends "_page.html.j2" %}{% from "_parts.html.j2" import chart, interval, legend %}'
    path = write(folder, "page.html.j2", f"{template}{{% block main %}}{main}{{% endblock %}}")
    facts = {"kind": "test", "title": "A & B", "written": "", "references": []}
    script, style = write(folder, "own.js", "const own = 1;"), write(folder, "own.css", ".own { color: red; }")
    return render_page(path, facts | words, data={"numbers": {"name": HOSTILE}}, styles=[style], scripts=[script])


def test_every_script_is_named_by_the_policy_and_nothing_is_fetched(tmp_path: Path) -> None:
    text = page(tmp_path)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert len(scripts) == 3  # the chart runtime, what draws, the page's own
    assert all(policy_hash(script) in html.unescape(policy[1]) for script in scripts)
    assert html.unescape(policy[1]).startswith("default-src 'none';")
    markup = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r'(?:src|href)="(?!data:|#)', markup)
    assert ".own { color: red; }" in text


def test_charts_are_handed_over_in_the_order_of_their_places(tmp_path: Path) -> None:
    charts = [Chart("t", f"seen & {i}", {"mark": i}) for i in range(2)]
    text = page(tmp_path, "{{ chart(first) }}{{ chart(second) }}", first=charts[0], second=charts[1])
    assert 'id="chart-1" role="img" aria-label="seen &amp; 1"' in text
    found = re.search(r'id="charts">(.*?)</script>', text)
    assert found is not None
    assert json.loads(found[1]) == {"chart-0": {"mark": 0}, "chart-1": {"mark": 1}}


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    text = page(tmp_path, "{{ name }}", title=HOSTILE, name=HOSTILE, references=[HOSTILE])
    assert "<script>alert" not in text
    found = re.search(r'id="numbers">(.*?)</script>', text)
    assert found is not None
    assert json.loads(found[1]) == {"name": HOSTILE}


def test_numbers_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text([float("nan")])


def test_a_word_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="absent"):
        page(tmp_path, "{{ absent }}")


def test_each_chart_has_its_own_place() -> None:
    charts = PageCharts()
    assert [charts.place(Chart("t", "d", {})) for _ in range(3)] == ["chart-0", "chart-1", "chart-2"]
