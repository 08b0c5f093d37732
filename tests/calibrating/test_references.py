"""References of what was fitted to a run, down to what a wrapper or an automatic choice holds."""

from pathlib import Path

import pytest
import torch

from trueline.calibrate import LaplaceMix, TemperatureScaling
from trueline.calibrating import CALIBRATOR, CONFORMAL, fitted_cited
from trueline.conformal import APS, ClassConditional


def _arxiv(folder: Path) -> set[str | None]:
    return {reference.arxiv for reference in fitted_cited(folder)}


def test_inner_methods_are_cited_too(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(90, 3, generator=generator), torch.arange(90) % 3
    assert fitted_cited(tmp_path) == []
    LaplaceMix(TemperatureScaling()).fit(labels, logits=logits).save(tmp_path / CALIBRATOR)
    assert "1706.04599" in _arxiv(tmp_path)
    ClassConditional(APS(0.1)).fit(labels, logits=logits).save(tmp_path / CONFORMAL)
    assert {"1706.04599", "2006.02544"} <= _arxiv(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / CALIBRATOR).write_text("T = 2")
    with pytest.raises(ValueError, match="holds no fitted object"):
        fitted_cited(tmp_path)
