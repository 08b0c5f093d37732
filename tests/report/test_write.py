"""One file, complete in itself, whatever the runs hold and whatever they are called."""

import base64
import hashlib
import itertools
import json
import re
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from trueline.report import write_report
from trueline.train import RunFolder

HOSTILE = "<script>alert(1)</script>"


class Page(HTMLParser):
    """What a browser would fetch or run, and the headings, of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.links: list[str] = []
        self.headings: list[int] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.policy = ""
        self._script: dict[str, str | None] | None = None
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset")]
        self._script = found if tag == "script" else None
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "meta" and found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts.append((self._script, data))

    def handle_endtag(self, tag: str) -> None:
        self._script = None

    @property
    def charts(self) -> dict[str, Any]:
        (text,) = (text for attributes, text in self.scripts if attributes.get("id") == "charts")
        return dict(json.loads(text))


@pytest.fixture
def two_runs(write_run: Any) -> list[Path]:
    return [
        write_run("ce", objective="cross_entropy", sharpness=2.5, with_beliefs=False),
        write_run("dps", objective="dps"),
    ]


def test_two_runs_in_one_file_without_anything_to_fetch(two_runs: list[Path], tmp_path: Path) -> None:
    out = write_report(two_runs, tmp_path / "report.html")
    page = Page(out)
    assert out == tmp_path / "report.html"
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not re.search(r"@import|url\(", page.text.split("<style>")[1].split("</style>")[0])
    assert len(out.read_bytes()) - sum(len(link) for link in page.links) < 3_000_000
    assert [p for p in tmp_path.iterdir() if p.name.endswith(".tmp")] == []


def test_only_the_scripts_of_the_page_may_run(two_runs: list[Path], tmp_path: Path) -> None:
    page = Page(write_report(two_runs, tmp_path / "report.html"))
    code = [text for attributes, text in page.scripts if "type" not in attributes]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code]
    assert re.findall(r"'sha256-([^']+)'", page.policy) == hashes
    assert "default-src 'none'" in page.policy
    assert "unsafe-eval" not in page.policy
    assert "script-src 'unsafe-inline'" not in page.policy


def test_every_chart_has_its_place_and_its_words(two_runs: list[Path], tmp_path: Path) -> None:
    page = Page(write_report(two_runs, tmp_path / "report.html"))
    places = re.findall(r'id="(chart-\d+)" role="img" aria-label="([^"]+)"', page.text)
    assert [name for name, _ in places] == list(page.charts)
    assert len(places) == 2 * 2 * 2 + 4 + 3  # diagrams and histograms, curves, monitors


def test_headings_never_skip_a_level(two_runs: list[Path], tmp_path: Path) -> None:
    levels = Page(write_report(two_runs, tmp_path / "report.html")).headings
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_hostile_names_are_text(write_run: Any, tmp_path: Path) -> None:
    names = [HOSTILE, '"><img src=x onerror=alert(2)>', "</script><b>\u2028{{ 7 * 7 }}"]
    folder = write_run("run", classes=3, class_names=names)
    text = (folder / "config.toml").read_text().replace('name = "run"', f'name = "{HOSTILE}"')
    (folder / "config.toml").write_text(text)
    page = Page(write_report([folder, folder], tmp_path / "report.html"))
    assert "alert(1)</script>" not in page.text
    assert "<img src=x" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; (1)" in page.text
    assert "{{ 7 * 7 }}" in page.text
    runs = {name for spec in page.charts.values() for name in re.findall(r'"run": "(.*?)"', json.dumps(spec))}
    assert runs == {f"{HOSTILE} (1)", f"{HOSTILE} (2)"}
    raw = page.text.split('id="charts">')[1].split("</script>")[0]
    assert not set(raw) & set("<>&\u2028\u2029")


def test_a_run_without_calibration_beliefs_or_history(write_run: Any, tmp_path: Path) -> None:
    folder = write_run("bare", calibration=0, with_beliefs=False, epochs=0)
    page = Page(write_report([RunFolder(folder)], tmp_path / "deep" / "report.html"))
    assert "No temperature was fitted" in page.text
    assert 'id="training"' not in page.text
    assert 'id="beliefs"' not in page.text
    assert len(page.charts) == 2


def test_one_test_sample_is_enough_for_a_page(write_run: Any, tmp_path: Path) -> None:
    text = write_report([write_run("tiny", samples=1)], tmp_path / "report.html").read_text()
    assert "too few samples to tell" in text


def test_a_run_without_test_predictions_is_refused(write_run: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no test predictions"):
        write_report([write_run("run", samples=0)], tmp_path / "report.html")


def test_beliefs_of_another_run_are_refused(write_run: Any, tmp_path: Path) -> None:
    a, b = write_run("a"), write_run("b", true_labels=torch.arange(20) % 10)
    (b / "beliefs.safetensors").replace(a / "beliefs.safetensors")
    with pytest.raises(ValueError, match="holds 20 beliefs and 1257 training labels"):
        write_report([a], tmp_path / "report.html")


def test_no_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one run folder"):
        write_report([], tmp_path / "report.html")


def test_a_failed_report_leaves_the_old_one(write_run: Any, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("old")
    with pytest.raises(ValueError, match="test predictions"):
        write_report([write_run("run", samples=0)], out)
    assert out.read_text() == "old"


@pytest.mark.parametrize("package", ["altair", "jinja2", "PIL.Image"])
def test_a_missing_package_names_the_extra(
    package: str, write_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run("run")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'trueline\[report\]'"):
        write_report([folder], tmp_path / "report.html")


def test_ten_thousand_test_samples_take_seconds(write_run: Any, tmp_path: Path) -> None:
    folder = write_run("large", samples=10_000)
    start = time.perf_counter()
    write_report([folder, folder], tmp_path / "report.html")
    assert time.perf_counter() - start < 10
