"""The baselines: closed forms, limits and the identities that hold across the family."""

import copy
import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from trueline.supervise import (
    DPS,
    ELR,
    PSKD,
    BeliefMatching,
    Contrastive,
    CrossEntropy,
    LabelSmoothing,
    MaxSup,
    TemporalEnsembling,
    build,
    soft_cross_entropy,
)

LABELS = torch.tensor([0, 1, 2, 3, 4, 0])
INDEX = torch.tensor([4, 0, 2])


def _logits(seed: int, rows: int = 3, classes: int = 5) -> torch.Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


def _gradient(objective, logits: torch.Tensor, *extra: torch.Tensor) -> torch.Tensor:
    leaf = logits.clone().requires_grad_()
    objective.loss(leaf, LABELS[INDEX], INDEX, *extra).sum().backward()
    return leaf.grad


# --- soft cross-entropy ---


def test_soft_cross_entropy_of_a_one_hot_is_cross_entropy_to_the_bit() -> None:
    logits, labels = _logits(0, rows=50), torch.randint(5, (50,), generator=torch.Generator().manual_seed(1))
    one_hot = F.one_hot(labels, 5).float()
    assert torch.equal(soft_cross_entropy(logits, one_hot), F.cross_entropy(logits, labels, reduction="none"))


@settings(deadline=None, max_examples=20)
@given(share=st.floats(0, 1), seed=st.integers(0, 999))
def test_soft_cross_entropy_is_affine_in_its_target(share: float, seed: int) -> None:
    logits, first, second = _logits(seed), _logits(seed + 1).softmax(dim=1), _logits(seed + 2).softmax(dim=1)
    mixed = soft_cross_entropy(logits, share * first + (1 - share) * second)
    parts = share * soft_cross_entropy(logits, first) + (1 - share) * soft_cross_entropy(logits, second)
    assert torch.allclose(mixed, parts, atol=1e-5)


def test_the_gradient_of_soft_cross_entropy_is_prediction_minus_target() -> None:
    logits, targets = _logits(0).requires_grad_(), _logits(1).softmax(dim=1)
    soft_cross_entropy(logits, targets).sum().backward()
    assert torch.allclose(logits.grad, logits.softmax(dim=1) - targets, atol=1e-6)


def test_soft_cross_entropy_of_half_precision_is_computed_in_float32() -> None:
    logits = 20 * _logits(0)
    halves = soft_cross_entropy(logits.half(), _logits(1).softmax(dim=1))
    assert halves.dtype == torch.float32
    assert torch.allclose(halves, soft_cross_entropy(logits.half().float(), _logits(1).softmax(dim=1)))


@pytest.mark.parametrize(
    "name", ["cross_entropy", "label_smoothing", "max_sup", "pskd", "elr", "temporal_ensembling", "dps"]
)
def test_gradient_rows_sum_to_zero(name: str) -> None:
    objective = build(name, labels=LABELS, num_classes=5, epochs=5)
    objective.update(INDEX, _logits(3))
    assert _gradient(objective, _logits(4)).sum(dim=1).abs().max() < 1e-6


# --- label smoothing and MaxSup ---


def test_label_smoothing_is_cross_entropy_plus_a_logit_penalty() -> None:
    logits = _logits(0)
    expected = F.cross_entropy(logits, LABELS[INDEX], reduction="none") + 0.1 * (
        logits.gather(1, LABELS[INDEX][:, None]).squeeze(1) - logits.mean(dim=1)
    )
    assert torch.allclose(LabelSmoothing(5, smoothing=0.1).loss(logits, LABELS[INDEX], INDEX), expected, atol=1e-6)


def test_label_smoothing_is_soft_cross_entropy_against_its_targets() -> None:
    objective, logits = LabelSmoothing(5, smoothing=0.3), _logits(0)
    expected = soft_cross_entropy(logits, objective.targets(INDEX, LABELS[INDEX]))
    assert torch.allclose(objective.loss(logits, LABELS[INDEX], INDEX), expected, atol=1e-6)


def test_the_optimum_of_label_smoothing_has_the_known_logit_gap() -> None:
    gap = math.log(1 + 10 * 0.9 / 0.1)
    assert gap == pytest.approx(4.5109, abs=1e-4)
    logits = torch.zeros(1, 10)
    logits[0, 3] = gap
    leaf = logits.requires_grad_()
    LabelSmoothing(10, smoothing=0.1).loss(leaf, torch.tensor([3]), torch.tensor([0])).sum().backward()
    assert leaf.grad.abs().max() < 1e-6


def test_max_sup_is_label_smoothing_where_the_prediction_is_right() -> None:
    logits = _logits(0)
    right = logits.argmax(dim=1)
    ours = MaxSup(5, strength=0.2).loss(logits, right, INDEX)
    assert torch.allclose(ours, LabelSmoothing(5, smoothing=0.2).loss(logits, right, INDEX), atol=1e-6)


@pytest.mark.parametrize("objective", [LabelSmoothing(5, smoothing=0.0), MaxSup(5, strength=0.0)])
def test_no_strength_is_cross_entropy(objective) -> None:
    logits = _logits(0)
    assert torch.equal(objective.loss(logits, LABELS[INDEX], INDEX), CrossEntropy(5).loss(logits, LABELS[INDEX], INDEX))


# --- belief matching ---


@pytest.mark.parametrize("coefficient", [0.01, 0.1])
def test_belief_matching_is_least_at_prior_plus_inverse_coefficient(coefficient: float) -> None:
    alpha = torch.ones(1, 5)
    alpha[0, 2] += 1 / coefficient
    leaf = alpha.log().requires_grad_()
    objective = BeliefMatching(5, coefficient=coefficient)
    objective.loss(leaf, torch.tensor([2]), torch.tensor([0])).sum().backward()
    assert leaf.grad.abs().max() < 1e-5
    expected = torch.full((5,), coefficient / (1 + 5 * coefficient))
    expected[2] = (coefficient + 1) / (1 + 5 * coefficient)
    assert torch.allclose(objective.targets(torch.tensor([0]), torch.tensor([2]))[0], expected)


def test_the_divergence_of_belief_matching_is_torchs_own() -> None:
    logits = _logits(0)
    posterior = torch.distributions.Dirichlet(logits.double().exp())
    kl = torch.distributions.kl_divergence(posterior, torch.distributions.Dirichlet(torch.full((3, 5), 2.0).double()))
    likelihood = torch.digamma(logits.double().exp()).gather(1, LABELS[INDEX][:, None]).squeeze(1) - torch.digamma(
        logits.double().exp().sum(dim=1)
    )
    ours = BeliefMatching(5, coefficient=0.3, prior=2.0).loss(logits, LABELS[INDEX], INDEX)
    assert torch.allclose(ours, (0.3 * kl - likelihood).float(), atol=1e-5)


def test_belief_matching_keeps_its_digits_at_large_counts() -> None:
    logits = [20.0, 19.0, -5.0]
    with mpmath.workdps(60):
        alpha = [mpmath.exp(z) for z in logits]
        total = mpmath.fsum(alpha)
        kl = mpmath.loggamma(total) - mpmath.loggamma(3) - mpmath.fsum(mpmath.loggamma(a) for a in alpha)
        kl += mpmath.fsum((a - 1) * (mpmath.digamma(a) - mpmath.digamma(total)) for a in alpha)
        exact = float(kl / 100 - mpmath.digamma(alpha[0]) + mpmath.digamma(total))
    ours = BeliefMatching(3, coefficient=0.01).loss(torch.tensor([logits]), torch.tensor([0]), torch.tensor([0]))
    assert ours.item() == pytest.approx(exact, rel=1e-4)


# --- PS-KD ---


def test_pskd_starts_as_cross_entropy_to_the_bit() -> None:
    logits = _logits(0)
    ours = PSKD(LABELS, 5, epochs=4, final_weight=1.0).loss(logits, LABELS[INDEX], INDEX)
    assert torch.equal(ours, CrossEntropy(5).loss(logits, LABELS[INDEX], INDEX))


def test_pskd_weights_grow_linearly_and_hit_the_final_one() -> None:
    objective = PSKD(LABELS, 5, epochs=4, final_weight=0.8)
    weights = []
    for _ in range(5):
        weights.append(objective.prediction_weight)
        objective.end_epoch()
    assert weights == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])


def test_pskd_without_weight_is_cross_entropy_to_the_bit() -> None:
    objective, logits = PSKD(LABELS, 5, epochs=4, final_weight=0.0), _logits(0)
    objective.update(INDEX, _logits(1))
    objective.end_epoch()
    expected = CrossEntropy(5).loss(logits, LABELS[INDEX], INDEX)
    assert torch.equal(objective.loss(logits, LABELS[INDEX], INDEX), expected)


def test_pskd_with_all_weight_is_dps_without_memory() -> None:
    pskd, dps = PSKD(LABELS, 5, epochs=1, final_weight=1.0), DPS(LABELS, 5, c=1e3, gamma=0.0, eps=1e-9)
    for seed in range(3):
        for objective in (pskd, dps):
            objective.update(INDEX, _logits(seed))
        targets = [objective.targets(INDEX, LABELS[INDEX]) for objective in (pskd, dps)]
        assert torch.allclose(*targets, atol=1e-6)


# --- ELR ---


def test_elr_gradient_has_its_closed_form() -> None:
    objective = ELR(LABELS, 5, momentum=0.7, strength=3.0)
    objective.update(INDEX, _logits(1))
    logits = _logits(2)
    p = logits.softmax(dim=1)
    t = 0.7 * objective.store.read(INDEX) + 0.3 * p
    agreement = (t * p).sum(dim=1, keepdim=True)
    penalty = p * (agreement - t) / (1 - agreement)
    expected = p - F.one_hot(LABELS[INDEX], 5) + 3.0 * penalty
    assert torch.allclose(_gradient(objective, logits), expected, atol=1e-5)


def test_elr_memory_starts_at_zero_and_follows_the_clamped_prediction() -> None:
    objective = ELR(LABELS, 5, momentum=0.7)
    assert objective.store.rows.abs().sum() == 0
    saturated = torch.tensor([[99.0, 0.0, 0.0, 0.0, 0.0]])
    objective.update(torch.tensor([0]), saturated)
    clamped = torch.tensor([1 - 1e-4, 1e-4, 1e-4, 1e-4, 1e-4])
    assert torch.allclose(objective.store.rows[0], 0.3 * clamped / clamped.sum())


def test_elr_without_strength_is_cross_entropy() -> None:
    objective, logits = ELR(LABELS, 5, strength=0.0), _logits(0)
    assert torch.equal(objective.loss(logits, LABELS[INDEX], INDEX), CrossEntropy(5).loss(logits, LABELS[INDEX], INDEX))


# --- temporal ensembling ---


def test_temporal_ensembling_corrects_the_bias_of_its_start() -> None:
    objective = TemporalEnsembling(LABELS, 5, momentum=0.6, weight=10.0, ramp_epochs=0)
    seen = _logits(0)
    for _ in range(3):  # the corrected mean of a constant is that constant
        objective.update(INDEX, seen)
    logits = _logits(1)
    expected = F.cross_entropy(logits, LABELS[INDEX], reduction="none") + 10 * (
        (logits.softmax(dim=1) - seen.softmax(dim=1)).square().mean(dim=1)
    )
    assert torch.allclose(objective.loss(logits, LABELS[INDEX], INDEX), expected, atol=1e-5)


def test_temporal_ensembling_asks_nothing_of_samples_not_yet_seen() -> None:
    objective, logits = TemporalEnsembling(LABELS, 5, ramp_epochs=0), _logits(0)
    assert torch.equal(objective.loss(logits, LABELS[INDEX], INDEX), CrossEntropy(5).loss(logits, LABELS[INDEX], INDEX))


def test_the_ramp_is_gaussian_and_ends_at_the_weight() -> None:
    objective = TemporalEnsembling(LABELS, 5, weight=30.0, ramp_epochs=2)
    weights = []
    for _ in range(4):
        weights.append(objective.agreement_weight)
        objective.end_epoch()
    assert weights == pytest.approx([30 * math.exp(-5), 30 * math.exp(-1.25), 30.0, 30.0])


# --- contrastive ---


def _unit(seed: int, rows: int = 6, width: int = 4) -> torch.Tensor:
    return F.normalize(_logits(seed, rows, width), dim=1)


def test_contrastive_is_the_mean_of_both_views_plus_the_literal_nt_xent() -> None:
    objective = Contrastive(CrossEntropy(5), weight=0.7, temperature=0.5)
    logits, embeddings = _logits(0, rows=6), _unit(1)
    ours = objective.loss(logits, LABELS[INDEX], INDEX, embeddings)
    kernel = (embeddings @ embeddings.T / 0.5).exp().double()
    for i in range(3):
        supervised = contrast = 0.0
        for row in (i, i + 3):
            supervised += F.cross_entropy(logits[row], LABELS[INDEX[i]]).item() / 2
            others = sum(kernel[row, u].item() for u in range(6) if u != row)
            contrast -= math.log(kernel[row, (row + 3) % 6].item() / others) / 2
        assert ours[i].item() == pytest.approx(supervised + 0.7 * contrast, rel=1e-5)


def test_contrastive_learns_from_the_mean_prediction() -> None:
    objective = Contrastive(DPS(LABELS, 5))
    alone = copy.deepcopy(objective.objective)
    first, second = _logits(0), _logits(1)
    objective.update(INDEX, torch.cat([first, second]))
    alone.update(INDEX, ((first.softmax(dim=1) + second.softmax(dim=1)) / 2).log())
    assert torch.allclose(objective.beliefs(), alone.beliefs(), atol=1e-6)
    objective.end_epoch()
    assert objective.objective.epoch == 1


def test_contrastive_without_weight_on_equal_views_is_the_objective() -> None:
    objective, logits = Contrastive(CrossEntropy(5), weight=0.0), _logits(0)
    ours = objective.loss(torch.cat([logits, logits]), LABELS[INDEX], INDEX, _unit(0))
    assert torch.allclose(ours, CrossEntropy(5).loss(logits, LABELS[INDEX], INDEX))


def test_contrastive_names_what_is_missing() -> None:
    objective = Contrastive(CrossEntropy(5))
    with pytest.raises(ValueError, match="WithProjection"):
        objective.loss(_logits(0, rows=6), LABELS[INDEX], INDEX)
    with pytest.raises(ValueError, match="views=2"):
        objective.loss(_logits(0), LABELS[INDEX], INDEX, _unit(0, rows=3))
    with pytest.raises(ValueError, match="one view"):
        Contrastive(Contrastive(CrossEntropy(5)))


# --- by name ---


def test_a_mistyped_name_or_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'pskd'"):
        build("psdk", labels=LABELS, num_classes=5, epochs=5)
    with pytest.raises(ValueError, match="did you mean 'window'"):
        build("dps", labels=LABELS, num_classes=5, epochs=5, windw=3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabelSmoothing(5, smoothing=1.0), r"smoothing must lie in \[0, 1\), got 1.0"),
        (lambda: MaxSup(5, strength=-0.1), "strength must be at least 0"),
        (lambda: BeliefMatching(5, coefficient=0.0), "coefficient must be above 0"),
        (lambda: PSKD(LABELS, 5, epochs=0), "epochs must be at least 1"),
        (lambda: PSKD(LABELS, 5, epochs=3, final_weight=1.5), "final_weight must lie"),
        (lambda: ELR(LABELS, 5, momentum=1.0), "momentum must lie"),
        (lambda: ELR(LABELS, 5, strength=-1.0), "strength must be at least 0"),
        (lambda: TemporalEnsembling(LABELS, 5, momentum=1.0), "momentum must lie"),
        (lambda: Contrastive(CrossEntropy(5), temperature=0.0), "temperature above 0"),
    ],
)
def test_impossible_options_are_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
