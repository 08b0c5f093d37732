"""The studies of coverage in small: their simulations against closed forms, their claims and figures."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trueline.conformal import SplitResidual
from trueline.data import Examples, Source
from trueline.models import ConvNet
from trueline.numerics import conformal_rank
from trueline.recipes import Study
from trueline.recipes import _conformal_coverage as coverage
from trueline.recipes import _conformal_early_stopping as stopping
from trueline.recipes import _noise_aware_coverage_cifar10n as noisy

STUDIES = (coverage.conformal_coverage, stopping.conformal_early_stopping, noisy.noise_aware_coverage_cifar10n)


def _measured(experiment: Study) -> Mapping[str, Mapping[str, float]]:
    """Return the scores of seed 0, which repeat, are finite and hold what the claims name."""
    before = torch.get_rng_state()
    found = experiment.measure(0)
    assert torch.equal(before, torch.get_rng_state())
    assert found == experiment.measure(0)
    assert set(found) == set(experiment.variants)
    for name, scores in found.items():
        assert all(math.isfinite(value) for value in scores.values()), name
        assert all(0 <= value <= 1 for metric, value in scores.items() if not metric.startswith("size")), name
    for claim in experiment.claims:
        assert claim.metric in found[claim.variant], claim.statement
        assert claim.metric in found[claim.baseline], claim.statement
    return found


def _drawn(experiment: Study, found: Mapping[str, Mapping[str, float]]) -> Any:
    """Return the panels of the figure of two seeds, the second a little higher."""
    pytest.importorskip("altair")
    assert experiment.figure is not None
    both = {name: {metric: [value, value + 0.02] for metric, value in scores.items()} for name, scores in found.items()}
    return experiment.figure(both).concat


def _rows(panel: Any) -> list[dict[str, Any]]:
    """Return what a panel draws: Altair keeps data that all layers share with the panel."""
    alt = pytest.importorskip("altair")
    held = panel.layer[-1].data
    rows: list[dict[str, Any]] = (panel.data if held is alt.Undefined else held).values
    return rows


@pytest.mark.parametrize("build", STUDIES)
def test_claims_name_variants_and_no_two_say_the_same(build: Callable[[], Study]) -> None:
    experiment = build()
    assert len(set(experiment.variants)) == len(experiment.variants)
    assert len({claim.statement for claim in experiment.claims}) == len(experiment.claims)
    assert len(set(experiment.references)) == len(experiment.references)
    for claim in experiment.claims:
        assert {claim.variant, claim.baseline} <= set(experiment.variants)


def test_the_study_of_coverage_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SIZES": (20, 50, 100), "REPEATS": 1, "NEW": 30}.items():
        monkeypatch.setattr(coverage, name, value)
    experiment = coverage.conformal_coverage()
    found = _measured(experiment)
    assert found[coverage.MOST]["coverage_20"] == pytest.approx(0.9 + 1 / 21)
    pooled = sum(found[name]["coverage_50"] for name in coverage.EXACT) / len(coverage.EXACT)
    assert found[coverage.POOLED]["coverage_50"] == pytest.approx(pooled)
    panels = _drawn(experiment, found)
    assert [panel.title for panel in panels] == [f"n = {n}" for n in coverage.SIZES]
    marks, *_ = panels[0].layer
    assert [row["at"] for row in marks.data.values] == pytest.approx([0.9, 19 / 21])
    assert [row["of"] for row in _rows(panels[0])] == [*coverage.METHODS, coverage.PLAIN]


def test_coverage_in_the_simulations_is_that_of_theory(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    """One threshold covers k/(n + 1), smoothed p-values 1 - alpha, the interpolated quantile (0.9(n - 1) + 1)/(n + 1).

    Within 4 standard errors, of which the variance is that of a beta distribution and of 200 new samples each.
    """
    monkeypatch.setattr(coverage, "CLASSIFIERS", {name: coverage.CLASSIFIERS[name] for name in ("LAC", "SAPS")})
    n, repeats = 20, 80
    rows: dict[str, list[float]] = {}
    for _ in range(repeats):
        hits = coverage._classification(n, generator) | coverage._regression(n, generator)
        for name, hit in hits.items():
            rows.setdefault(name, []).append(hit.double().mean().item())
    exact = conformal_rank(n, coverage.ALPHA) / (n + 1)
    expected = dict.fromkeys(coverage.EXACT, exact) | {coverage.SMOOTHED: 0.9, coverage.PLAIN: (0.9 * 19 + 1) / 21}
    expected["asymmetric CQR"] = 1 - 2 / 21  # each end misses in 1 of 21
    assert set(expected) > set(rows) - {"class", "group"}
    for name in rows.keys() & expected.keys():
        share = expected[name]
        spread = math.sqrt(share * (1 - share) * (1 / (n + 2) + 1 / coverage.NEW) / repeats)
        assert abs(sum(rows[name]) / repeats - share) <= 4 * spread, name


def test_the_study_of_early_stopping_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"REPEATS": 1, "NEW": 10, "CHECKPOINTS": 8}.items():
        monkeypatch.setattr(stopping, name, value)
    experiment = stopping.conformal_early_stopping()
    found = _measured(experiment)
    for kind in stopping.REGRESSIONS:  # an interval holds the union
        for n in stopping.SIZES:
            assert found[f"{kind}: CES interval"][f"coverage_{n}"] >= found[f"{kind}: CES"][f"coverage_{n}"]
    covered, lengths, *_, sizes = _drawn(experiment, found)
    assert len(_rows(covered)) == 12
    assert len(_rows(lengths)) == len(_rows(sizes)) == 9


def test_with_one_model_there_is_nothing_to_choose(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    monkeypatch.setattr(stopping, "CHECKPOINTS", 1)
    y, mean = stopping._noisy(60, generator)
    found = stopping.regression(y, mean)
    assert torch.equal(found["naive"]["size"], found["CES interval"]["size"])
    assert torch.equal(found["naive"]["coverage"], found["CES"]["coverage"])
    half = SplitResidual(0.1).fit(y[30:60], mean=mean[0, 30:60]).predict_interval(mean=mean[0, 60:])
    assert torch.equal(found["split"]["size"], half[:, 1] - half[:, 0])


def test_the_training_run_is_gradient_flow_that_ends_in_least_squares(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    for name, value in {"TRAINED": 12, "FEATURES": 3, "CHECKPOINTS": 2, "NEW": 5, "FIRST": 0.0}.items():
        monkeypatch.setattr(stopping, name, value)
    state = generator.get_state()
    y, mean = stopping._training_run(10, generator)
    generator.set_state(state)
    x = torch.randn(27, 3, generator=generator, dtype=torch.float64)
    weights = torch.randn(3, generator=generator, dtype=torch.float64) / math.sqrt(3)
    outcome = x @ weights + torch.randn(27, generator=generator, dtype=torch.float64)
    assert torch.equal(y, outcome[12:])
    solved = torch.linalg.lstsq(x[:12], outcome[:12, None]).solution[:, 0]
    torch.testing.assert_close(mean[1], x[12:] @ solved)
    stepped = torch.zeros(3, dtype=torch.float64)
    for _ in range(500):  # Euler's steps to time 1, down the gradient of half the mean squared error
        stepped -= x[:12].T @ (x[:12] @ stepped - outcome[:12]) / 12 / 500
    torch.testing.assert_close(mean[0], x[12:] @ stepped, atol=5e-3, rtol=0)


def test_the_rate_and_the_matrix_of_wrong_labels() -> None:
    clean, given = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2]), torch.tensor([0, 0, 0, 1, 1, 1, 2, 0])
    rate, matrix = noisy.noise_of(clean, given, 3)
    assert rate == pytest.approx(2 / 8 * 3 / 2)  # a third of the replaced labels are right by chance
    assert matrix.tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0.5, 0, 0.5]]


def test_drawn_labels_are_as_wrong_as_the_given_ones() -> None:
    clean = torch.arange(4).repeat(5000)
    given = torch.where(torch.arange(20_000) % 10 < 3, (clean + 1) % 4, clean)  # one class up, 30 %
    blind, by_class = noisy.drawn(clean, given, 4, seed=1)
    rates, matrices = zip(*(noisy.noise_of(clean, labels, 4) for labels in (given, blind, by_class)), strict=True)
    assert rates[1:] == pytest.approx([rates[0]] * 2, abs=4 * math.sqrt(0.21 / 20_000) * 4 / 3)
    torch.testing.assert_close(matrices[2], matrices[0], atol=0.03, rtol=0)
    torch.testing.assert_close(matrices[1], 0.6 * torch.eye(4).double() + 0.1, atol=0.03, rtol=0)
    assert all(map(torch.equal, noisy.drawn(clean, given, 4, seed=1), (blind, by_class)))


def test_where_labels_are_wrong_and_how_likely_they_are() -> None:
    logits = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.1, 0.3], [0.2, 0.5, 0.3], [0.5, 0.1, 0.4]]).log()
    clean, given = torch.tensor([0, 0, 0, 0]), torch.tensor([0, 2, 1, 0])
    found = noisy._errors(logits, clean, given)
    assert found["hard images"]["wrong"] == 1
    assert found["easy images"]["wrong"] == pytest.approx(1 / 3)
    assert found["wrong labels"]["likely"] == pytest.approx((0.3 + 0.5) / 2)
    assert found["blind labels"]["likely"] == pytest.approx((0.4 + 0.8) / 2 / 2)


def test_the_network_is_trained_as_told_and_knows_its_normalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def trained(config: Any, path: Path, *, progress: bool) -> Any:
        asked.append(config)
        return SimpleNamespace(environment=lambda: {"normalisation": {"mean": [0.1, 0.2, 0.3], "std": [1.0, 2.0, 3.0]}})

    network = ConvNet((3, 32, 32), 10, width=2)
    monkeypatch.setattr(noisy, "train", trained)
    monkeypatch.setattr(noisy, "load_model", lambda run: network)
    found, mean, std = noisy._trained(Path("shards"), 3)
    (config,) = asked
    assert found is network
    assert mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert std.shape == (1, 3, 1, 1)
    assert (config.seed, config.data.shards, config.data.labels) == (3, (0,), "label")
    assert (config.training.epochs, config.data.train_size) == (noisy.EPOCHS, noisy.TRAINED)


def test_the_study_of_noisy_labels_in_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two kinds of labels that are the same have the same scores, and clean ones judge the sets."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.arange(10).repeat(40)
    replaced = torch.rand(400, generator=generator) < 0.3
    given = torch.where(replaced, torch.randint(10, (400,), generator=generator), clean)
    images = torch.randint(256, (400, 3, 8, 8), generator=generator).byte()

    def examples(labels: torch.Tensor) -> Examples:
        return Examples(images, labels, clean, tuple("abcdefghij"), torch.arange(400))

    def read(folder: Path, *, labels: str = "label", shards: tuple[int, ...]) -> Source:
        assert (folder, shards) == (tmp_path / "cifar10", (1,))
        return Source(train=examples(clean if labels == "label" else given), test=examples(clean))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ConvNet((3, 8, 8), 10, width=2).eval()
    ends = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    monkeypatch.setattr(noisy, "cifar10", read)
    monkeypatch.setattr(noisy, "_trained", lambda shards, seed: (network, *ends))
    monkeypatch.setattr(noisy, "CALIBRATED", 200)
    experiment = noisy.noise_aware_coverage_cifar10n(tmp_path)
    found = _measured(experiment)
    assert found["worst: LAC, naive"] == found["random: LAC, naive"]
    assert found["clean: LAC"]["off"] == pytest.approx(abs(found["clean: LAC"]["coverage"] - 0.9))
    covered, sizes = _drawn(experiment, found)
    assert len(_rows(covered)) == len(_rows(sizes)) == 32
