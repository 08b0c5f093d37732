"""Selective regression: the identities of acceptance by width, its guaranteed share, and saving."""

import math

import pytest
import torch

import trueline
from trueline.conformal import CQR, AsymmetricCQR, NormalisedResidual, SelectiveRegression, SplitResidual


@pytest.fixture
def problem(generator: torch.Generator) -> dict[str, torch.Tensor]:
    x = torch.rand(200, generator=generator, dtype=torch.float64)
    noise = torch.randn(200, generator=generator, dtype=torch.float64)
    return {"y": x + x * noise, "lower": x - x, "upper": x + x}


def test_full_coverage_accepts_everything(problem) -> None:
    selective = SelectiveRegression(CQR(0.1), 1.0).fit(**problem)
    assert selective.limit_ == math.inf
    assert selective.accept(lower=torch.tensor([-1e30]), upper=torch.tensor([1e30])).all()


def test_the_limit_is_an_order_statistic_of_the_widths(problem) -> None:
    selective = SelectiveRegression(CQR(0.1), 0.5).fit(**problem)
    interval = selective.predict_interval(lower=problem["lower"], upper=problem["upper"])
    widths = (interval[:, 1] - interval[:, 0]).sort().values
    assert selective.limit_ == pytest.approx(widths[100].item(), rel=1e-9)  # ⌈201/2⌉ = 101
    assert selective.accept(lower=problem["lower"], upper=problem["upper"]).sum() == 101


@pytest.mark.filterwarnings("ignore:.* intervals are empty")  # at alpha = 0.4
def test_conformalising_does_not_change_who_is_accepted(problem) -> None:
    """The amount that CQR adds is the same for all samples, whatever alpha is."""
    given = {name: problem[name] for name in ("lower", "upper")}
    accepted = [
        SelectiveRegression(regressor, 0.3).fit(**problem).accept(**given)
        for regressor in (CQR(0.05), CQR(0.4), AsymmetricCQR(0.1))
    ]
    assert torch.equal(accepted[0], accepted[1])
    assert torch.equal(accepted[0], accepted[2])


def test_intervals_of_one_width_leave_no_choice(problem, generator: torch.Generator) -> None:
    """Around different means, where the last digits of their widths differ by rounding."""
    y, mean = problem["y"], 100 * torch.randn(200, generator=generator, dtype=torch.float64)
    assert SelectiveRegression(SplitResidual(0.1), 0.2).fit(y, mean=mean).accept(mean=mean).all()


def test_the_share_of_accepted_samples_is_at_least_what_was_asked(generator: torch.Generator) -> None:
    n, draws, coverage = 9, 250, 0.3
    scale = torch.rand(draws, n + 1, generator=generator, dtype=torch.float64) + 0.1
    y, mean = torch.zeros(n), torch.zeros(n)
    accepted = 0
    for row in scale:
        selective = SelectiveRegression(NormalisedResidual(0.1), coverage).fit(y + 1.0, mean=mean, scale=row[:-1])
        accepted += int(selective.accept(mean=mean[:1], scale=row[-1:]))
    assert abs(accepted - draws * 0.3) < 4.5 * math.sqrt(draws * 0.21)  # ⌈10·0.3⌉/10


def test_it_saves_with_its_regressor(problem, tmp_path) -> None:
    given = {name: problem[name] for name in ("lower", "upper")}
    selective = SelectiveRegression(CQR(0.1), 0.5).fit(**problem)
    read = trueline.load(selective.save(tmp_path / "selective.safetensors"))
    assert repr(read) == repr(selective) == "SelectiveRegression(regressor=CQR(alpha=0.1), coverage=0.5)"
    assert torch.equal(read.accept(**given), selective.accept(**given))
    assert torch.equal(read.predict_interval(**given), selective.predict_interval(**given))


def test_misuse_is_refused(problem) -> None:
    with pytest.raises(RuntimeError, match="fit"):
        SelectiveRegression(CQR(0.1), 0.5).accept(lower=problem["lower"], upper=problem["upper"])
    for coverage in (0.0, 1.1, -0.5):
        with pytest.raises(ValueError, match="coverage must lie in \\(0, 1\\]"):
            SelectiveRegression(CQR(0.1), coverage)
