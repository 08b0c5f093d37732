"""Figures of studies: what is drawn, and that the files open offline."""

import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trueline.cli import app
from trueline.recipes import RECIPES, Study, write_figure
from trueline.recipes import _hyperplane_arrangements as arrangements
from trueline.recipes._sweep_chart import Panel, sweep_chart

SCORES = {
    **{
        f"width {w}": {"error": [0.1 * w, 0.1 * w + 0.02], "noisy": [1.0, 1e-9], "width": [float(w)] * 2}
        for w in (1, 2, 4)
    },
    "threshold": {"error": [0.2, 0.3], "width": [2.0, 4.0]},
}


def _study(**changes: object) -> Study:
    panels = (Panel("error", {"": "error"}), Panel("two", {"a": "error", "b": "noisy"}, logarithmic=True))
    options = {
        "name": "tiny",
        "summary": "numbers",
        "references": (),
        "variants": tuple(SCORES),
        "measure": lambda seed: {v: {m: x[min(seed, 1)] for m, x in s.items()} for v, s in SCORES.items()},
        "claims": (),
        "seeds": 2,
        "figure": lambda scores: sweep_chart(scores, panels),
    }
    return Study(**(options | changes))  # type: ignore[arg-type]


def test_a_panel_shows_mean_and_interval_of_each_width_and_where_labels_are_fitted() -> None:
    pytest.importorskip("altair")
    first, second = sweep_chart(SCORES, (Panel("error", {"": "error"}), Panel("n", {"n": "noisy"}, True))).concat
    rule, band, *_ = first.layer
    assert rule.data.values == [{"size": 2.0}]  # the median, which is the lower of two
    assert [row["size"] for row in band.data.values] == [1, 2, 4]
    row = band.data.values[1]
    assert row["mean"] == pytest.approx(0.21)
    assert row["high"] - row["mean"] == pytest.approx(12.706 * 0.01, rel=1e-3)  # t with one degree of freedom
    assert "2 seeds" in sweep_chart(SCORES, (Panel("error", {"": "error"}),)).title.text
    assert all(row["low"] > 0 for row in second.layer[1].data.values)  # a logarithm is taken of it


def test_the_figure_is_a_picture_and_a_page_that_open_offline(tmp_path: Path) -> None:
    pytest.importorskip("vl_convert")
    picture, page = write_figure(_study(), SCORES, tmp_path / "new")
    assert picture.read_text().startswith("<svg")
    text = page.read_text()
    assert not re.search(r"<(script|link)[^>]*(src|href)=", text)


def test_a_study_without_a_figure_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tiny has no figure"):
        write_figure(_study(figure=None), SCORES, tmp_path)


def test_arrangements_are_drawn_by_layer() -> None:
    pytest.importorskip("altair")
    scores = {
        f"{state}, {layer}": {"mass": [0.4, 0.6], "drop": [0.1, 0.3]}
        for state in arrangements.STATES
        for layer in arrangements.LAYERS
    }
    masses, drops = arrangements.figure(scores | {"initial": {"z": [1.0, 2.0]}}).concat
    assert len(masses.data.values) == 12
    assert [row["mean"] for row in drops.data.values] == pytest.approx([0.2] * 4)


@pytest.mark.parametrize("missing", [False, True])
def test_the_command_says_where_the_figure_is_or_what_it_needs(
    missing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("vl_convert")
    monkeypatch.setitem(RECIPES._entries, "tiny", _study)
    if missing:
        monkeypatch.setitem(sys.modules, "vl_convert", None)
    result = CliRunner().invoke(app, ["reproduce", "tiny", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "results.json").read_text())["recipe"] == "tiny"
    if missing:
        assert "no figure" in result.output
        assert "pip install 'trueline[report]'" in result.output
    else:
        assert f"figure: {tmp_path / 'figure.svg'}" in result.output
    assert (tmp_path / "figure.html").exists() is not missing
