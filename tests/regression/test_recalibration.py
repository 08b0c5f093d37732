"""Quantile recalibration: identities, slow twins, the halved standard deviation, atoms, states and refusals."""

import json
import math

import pytest
import torch
from oracles import regression as oracle

import trueline
from trueline.conformal import SplitResidual
from trueline.numerics import conformal_rank
from trueline.regression import (
    EmpiricalRecalibration,
    Gaussian,
    KernelRecalibration,
    LinearRecalibration,
    QuantileGrid,
    negative_log_density,
    pit,
    probabilistic_calibration_error,
)

EVERY = [EmpiricalRecalibration, LinearRecalibration, KernelRecalibration]
GRID = torch.linspace(0, 1, 101, dtype=torch.float64)


def _standard(n: int, scale: float = 1.0) -> Gaussian:
    return Gaussian(torch.zeros(n, dtype=torch.float64), torch.full((n,), scale, dtype=torch.float64))


def test_even_pits_make_the_linear_map_the_identity() -> None:
    fitted = LinearRecalibration().fit(torch.arange(1, 20, dtype=torch.float64) / 20)
    assert torch.allclose(fitted.cdf(GRID), GRID, atol=1e-14)
    assert torch.allclose(fitted.quantile(GRID), GRID, atol=1e-14)
    assert torch.allclose(fitted.log_density(GRID), torch.zeros(101).double(), atol=1e-12)
    standard, y = _standard(3), torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
    same = fitted.recalibrate(standard)
    assert torch.allclose(same.cdf(y), standard.cdf(y), atol=1e-14)
    assert torch.allclose(same.log_density(y), standard.log_density(y), atol=1e-12)
    assert torch.allclose(same.crps(y), standard.crps(y), rtol=2e-3)
    assert torch.allclose(same.mean(), standard.mean(), atol=1e-10)


def test_order_statistics_are_split_conformal_prediction(generator: torch.Generator) -> None:
    """The quantile at a level is where the score Z meets the conformal threshold."""
    values = torch.rand(37, generator=generator, dtype=torch.float64)
    fitted = EmpiricalRecalibration().fit(values)
    for alpha in (0.05, 0.1, 0.3, 0.5):
        rank = conformal_rank(37, alpha)
        conformal = SplitResidual(alpha).fit(values, mean=torch.zeros(37)).threshold_.item()
        level = torch.tensor([rank / 38, 1 - alpha], dtype=torch.float64)
        assert fitted.quantile(level).tolist() == [conformal, conformal]


def test_beyond_the_last_order_statistic_quantiles_are_infinite() -> None:
    fitted = EmpiricalRecalibration().fit(torch.tensor([0.2, 0.4, 0.9]).double())
    quantiles = fitted.recalibrate(_standard(1)).quantile(torch.tensor([0.0, 0.75, 0.7501, 1.0]).double())
    assert quantiles[0, 0] == -math.inf
    assert quantiles[0, 1].isfinite()
    assert quantiles[0, 2:].tolist() == [math.inf, math.inf]


def test_the_slow_twins_agree(generator: torch.Generator) -> None:
    values = torch.rand(25, generator=generator, dtype=torch.float64)
    values[:5], values[5], values[6] = 0.3, 0.0, 1.0  # ties and ends
    linear = LinearRecalibration().fit(values)
    expected = [oracle.linear_recalibration(values.tolist(), z) for z in GRID.tolist()]
    assert linear.cdf(GRID).tolist() == pytest.approx(expected, abs=1e-12)
    for sharpness in (2.0, 100.0):
        kernel = KernelRecalibration(sharpness=sharpness).fit(values)
        expected = [oracle.kernel_recalibration(values.tolist(), z, sharpness) for z in GRID.tolist()]
        assert kernel.cdf(GRID).tolist() == pytest.approx(expected, abs=1e-12)
    steps = EmpiricalRecalibration().fit(values)
    expected = [sum(v <= z for v in values.tolist()) / 26 for z in GRID.tolist()[:-1]]
    assert steps.cdf(GRID[:-1]).tolist() == pytest.approx(expected, abs=1e-15)


@pytest.mark.filterwarnings("ignore:kernels of sharpness")  # which may be as wide as the interval
@pytest.mark.parametrize("sharpness", [0.5, 2.0, 100.0, 1000.0])
def test_the_kernel_map_is_a_distribution_on_the_unit_interval(generator: torch.Generator, sharpness: float) -> None:
    fitted = KernelRecalibration(sharpness=sharpness).fit(torch.rand(200, generator=generator).square())
    shares = fitted.cdf(GRID)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert (shares.diff() >= 0).all()
    assert torch.allclose(fitted.cdf(fitted.quantile(GRID)), GRID, atol=1e-9)
    points = torch.linspace(0.01, 0.99, 40, dtype=torch.float64)
    slope = (fitted.cdf(points + 1e-6) - fitted.cdf(points - 1e-6)) / 2e-6
    assert torch.allclose(fitted.log_density(points).exp(), slope, rtol=1e-4, atol=1e-5)


def test_the_kernel_map_keeps_at_most_so_many_points(generator: torch.Generator) -> None:
    values = torch.rand(500, generator=generator)
    first = KernelRecalibration(points=64).fit(values)
    assert len(first.pit_) == 64
    assert torch.isin(first.pit_, values.double()).all()
    assert torch.equal(first.pit_, KernelRecalibration(points=64).fit(values).pit_)
    other = KernelRecalibration(points=64).fit(values, generator=torch.Generator().manual_seed(5))
    assert not torch.equal(first.pit_, other.pit_)


def test_kernels_that_are_too_wide_are_said(generator: torch.Generator) -> None:
    outcome = torch.randn(1000, generator=generator, dtype=torch.float64)
    for scale in (2.0, 1.0):  # no warning, which would be an error
        KernelRecalibration().fit(pit(_standard(1000, scale), outcome))
    for n in (1, 2):  # of so few nothing is known
        KernelRecalibration().fit(torch.zeros(n))
    for moved in (outcome, outcome + 1):  # PITs at both ends, and rather at one
        values = pit(_standard(1000, 1 / 3), moved)
        with pytest.warns(UserWarning, match="kernels of sharpness 100 are too wide.* use LinearRecalibration") as said:
            fitted = KernelRecalibration().fit(values)
        low = (values <= fitted.quantile(torch.tensor([0.05]))).double().mean()
        assert f"{low:.1%} of them lie below the corrected 5 % quantile" in str(said[0].message)
    KernelRecalibration(sharpness=1e5).fit(pit(_standard(1000, 0.5), outcome))  # narrow enough


@pytest.mark.filterwarnings("ignore:kernels of sharpness 100 are too wide")
def test_a_halved_standard_deviation_is_repaired() -> None:
    """The published order of the three: steps and lines reach the floor of chance, kernels of width 4/100 do not."""
    generator = torch.Generator().manual_seed(0)
    calibration, test = torch.randn(2, 2000, generator=generator, dtype=torch.float64)
    model = _standard(2000, 0.5)
    before = probabilistic_calibration_error(pit(model, test)).item()
    assert before == pytest.approx(0.1084, abs=0.012)
    after = {}
    for kind in EVERY:
        corrected = kind().fit(pit(model, calibration)).recalibrate(model)
        after[kind] = probabilistic_calibration_error(pit(corrected, test)).item()
    assert after[EmpiricalRecalibration] < 0.02
    assert after[LinearRecalibration] == pytest.approx(after[EmpiricalRecalibration], abs=1e-3)
    assert after[LinearRecalibration] < after[KernelRecalibration] < 0.045
    lines = LinearRecalibration().fit(pit(model, calibration)).recalibrate(model)
    truth = negative_log_density(_standard(2000), test).mean()
    gained = [negative_log_density(one, test).mean().item() for one in (model, lines)]
    assert gained[0] > gained[1] > truth
    assert lines.crps(test).mean() < model.crps(test).mean()


def test_levels_are_covered_exactly_on_average(generator: torch.Generator) -> None:
    n, draws, level = 9, 400, torch.tensor([0.73], dtype=torch.float64)
    model = _standard(1, 0.4)  # a poor one
    hits = 0
    for row in torch.randn(draws, n + 1, generator=generator, dtype=torch.float64):
        fitted = EmpiricalRecalibration().fit(_standard(n, 0.4).cdf(row[:-1]))
        hits += bool(row[-1] <= fitted.recalibrate(model).quantile(level)[0, 0])
    assert abs(hits - 0.8 * draws) < 4.5 * math.sqrt(draws * 0.16)  # ⌈10·0.73⌉/10


def test_steps_have_no_density() -> None:
    corrected = (
        EmpiricalRecalibration()
        .fit(torch.rand(9, generator=torch.Generator().manual_seed(0)))
        .recalibrate(_standard(2))
    )
    assert not corrected.has_density
    with pytest.raises(ValueError, match="use LinearRecalibration"):
        corrected.log_density(torch.zeros(2))
    with pytest.raises(ValueError, match="no density to score; use crps"):
        negative_log_density(corrected, torch.zeros(2))
    assert corrected.crps(torch.zeros(2)).isfinite().all()


def test_atoms_of_the_base_and_of_the_map_are_seen() -> None:
    steps = EmpiricalRecalibration().fit(torch.tensor([0.5, 0.5, 0.25]).double())
    corrected = steps.recalibrate(_standard(1))
    assert corrected.cdf(torch.zeros(1).double()).item() == 0.75
    assert corrected.cdf_below(torch.zeros(1).double()).item() == 0.25
    point = QuantileGrid(torch.zeros(1, 2).double(), torch.tensor([0.5, 0.9]).double())
    at_atom = LinearRecalibration().fit(torch.tensor([0.5]).double()).recalibrate(point)
    assert at_atom.cdf(torch.zeros(1).double()).item() == 1
    assert at_atom.cdf_below(torch.zeros(1).double()).item() == 0


def test_gradients_pass_through_the_smooth_map() -> None:
    fitted = KernelRecalibration().fit(torch.rand(50, generator=torch.Generator().manual_seed(0)))
    location = torch.zeros(2, dtype=torch.float64, requires_grad=True)

    def values(m: torch.Tensor) -> torch.Tensor:
        corrected = fitted.recalibrate(Gaussian(m, torch.ones(2, dtype=torch.float64)))
        y = torch.tensor([0.1, -0.4], dtype=torch.float64)
        return torch.cat([corrected.cdf(y), corrected.log_density(y)])

    assert torch.autograd.gradcheck(values, (location,))


@pytest.mark.parametrize("kind", EVERY)
def test_states_survive_and_refits_forget(kind, generator: torch.Generator, tmp_path) -> None:
    values = torch.rand(40, generator=generator)
    fitted = kind().fit(values.square()).fit(values)
    fresh = kind().fit(values)
    read = trueline.load(fitted.save(tmp_path / "map.safetensors"))
    again = kind().load_state(json.loads(json.dumps(fitted.state())))
    for other in (fresh, read, again):
        assert torch.equal(other.cdf(GRID), fitted.cdf(GRID))
        assert torch.equal(other.quantile(GRID), fitted.quantile(GRID))


@pytest.mark.parametrize("kind", EVERY)
def test_hard_cases_stay_valid(kind) -> None:
    for values in ([0.5], [0.0, 0.0, 1.0], [0.3] * 10, [0.0], [1.0]):
        fitted = kind().fit(torch.tensor(values))
        shares, quantiles = fitted.cdf(GRID), fitted.quantile(GRID)
        for result in (shares, quantiles):
            assert ((result >= 0) & (result <= 1)).all()
            assert (result.diff() >= 0).all()
        scores = fitted.recalibrate(_standard(2)).crps(torch.zeros(2))
        assert not scores.isnan().any()
        steps_at_an_end = kind is EmpiricalRecalibration and not 0 < min(values) <= max(values) < 1
        assert scores.isinf().all() if steps_at_an_end else scores.isfinite().all()


def test_mass_at_both_infinities_has_no_mean() -> None:
    steps = EmpiricalRecalibration().fit(torch.tensor([0.0, 0.0, 1.0]))
    assert steps.recalibrate(_standard(1)).mean().isnan().all()


@pytest.mark.parametrize("kind", EVERY)
def test_misuse_is_refused(kind) -> None:
    with pytest.raises(RuntimeError, match="fit"):
        kind().recalibrate(_standard(1))
    with pytest.raises(RuntimeError, match="fit"):
        kind().cdf(GRID)
    for bad in (torch.zeros(0), torch.tensor([1.1]), torch.tensor([math.nan])):
        with pytest.raises(ValueError, match="pit must"):
            kind().fit(bad)
    with pytest.raises(ValueError, match="levels"):
        kind().fit(torch.tensor([0.5])).quantile(torch.tensor([2.0]))


def test_impossible_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match="sharpness must be positive and points at least 1"):
        KernelRecalibration(sharpness=0.0).fit(torch.tensor([0.5]))
