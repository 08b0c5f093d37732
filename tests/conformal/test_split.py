"""Split conformal scores and sets: the battery, closed forms, invariances, slow twins, a peer, real predictions."""

import math

import numpy as np
import pytest
import torch
from oracles import conformal as oracle

from trueline.conformal import APS, LAC, RAPS, SAPS, Margin, evaluate_sets
from trueline.contracts import check_conformal, facts_of
from trueline.contracts._conformal import hashed_uniform, predicted_uniform

METHODS = {
    "lac": (LAC, oracle.lac),
    "margin": (Margin, oracle.margin),
    "aps": (APS, oracle.aps),
    "raps": (lambda alpha, **o: RAPS(alpha, penalty=0.3, k_reg=2, **o), lambda p, u: oracle.raps(p, u, 0.3, 2)),
    "saps": (lambda alpha, **o: SAPS(alpha, rank_weight=0.15, **o), lambda p, u: oracle.saps(p, u, 0.15)),
}


def _draw(generator: torch.Generator, samples: int = 300, classes: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 2 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1), logits


@pytest.mark.parametrize("name", METHODS)
def test_they_keep_the_contract(name: str) -> None:
    check_conformal(METHODS[name][0])


def test_a_variant_keeps_it_too() -> None:
    check_conformal(lambda alpha: APS(alpha, randomised=False, allow_empty=False))


@pytest.mark.parametrize("name", METHODS)
def test_the_slow_twin_finds_the_same_scores(generator: torch.Generator, name: str) -> None:
    make, twin = METHODS[name]
    _, logits = _draw(generator, 20)
    logits[:5, 3] = logits[:5, 1]  # ties
    probs, index = logits.softmax(dim=1), torch.arange(20) + 100
    method = make(0.1)
    draws = predicted_uniform(logits.log_softmax(dim=1), hashed_uniform(index, 0), 0)
    scores = method.scores(probs=probs, index=index)
    for row, p, u in zip(scores, probs.tolist(), draws.tolist(), strict=True):
        assert row.tolist() == pytest.approx(twin(p, u), abs=1e-9)


def test_equal_margins_have_a_closed_form() -> None:
    # Nine certain rows with p = 0.9 of the label and one with p = 0.05: at alpha = 0.2 the 9th of 10 scores counts.
    probs = torch.full((10, 3), 0.05, dtype=torch.float64)
    probs[:, 0] = 0.9
    labels = torch.tensor([0] * 9 + [1])
    assert LAC(0.2).fit(labels, probs=probs).threshold_ == pytest.approx(-math.log(0.9))
    assert Margin(0.2).fit(labels, probs=probs).threshold_ == pytest.approx(0.05 - 0.9)
    assert APS(0.2, randomised=False).fit(labels, probs=probs).threshold_ == pytest.approx(0.9)
    assert LAC(0.05).unfitted().options() == {"alpha": 0.05, "allow_empty": True}


def test_raps_without_a_penalty_is_aps(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    first, second = APS(0.1).fit(labels, logits=logits), RAPS(0.1, penalty=0).fit(labels, logits=logits)
    assert first.threshold_ == second.threshold_
    assert torch.equal(first.predict_set(logits=logits), second.predict_set(logits=logits))


def test_a_huge_penalty_bounds_the_size_of_sets(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    k_reg = 4
    ranks = (logits > logits.gather(1, labels[:, None])).sum(dim=1) + 1
    assert (ranks <= k_reg).double().mean() > 0.95
    sets = RAPS(0.1, penalty=1e6, k_reg=k_reg).fit(labels, logits=logits).predict_set(logits=logits)
    assert sets.sum(dim=1).max() <= k_reg


def test_an_increasing_transform_of_the_score_leaves_the_sets(generator: torch.Generator) -> None:
    class OneMinusP(LAC):
        def _scores(self, log_probs, draws):
            return 1 - log_probs.exp()

    labels, logits = _draw(generator)
    _, others = _draw(generator)
    published, ours = (kind(0.1).fit(labels, logits=logits) for kind in (OneMinusP, LAC))
    assert torch.equal(published.predict_set(logits=others), ours.predict_set(logits=others))
    assert published.threshold_ == pytest.approx(1 - math.exp(-ours.threshold_))


def test_two_classes_are_least_ambiguous_by_lac_and_by_margin_alike(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 200, 2)
    column = logits[:, 1] - logits[:, 0]
    sets = [kind(0.1).fit(labels, logits=column).predict_set(logits=column) for kind in (LAC, Margin)]
    assert torch.equal(*sets)
    assert torch.equal(sets[0], LAC(0.1).fit(labels, logits=logits).predict_set(logits=column[:, None]))


def test_permuting_the_classes_permutes_the_sets(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    order = torch.randperm(6, generator=generator)
    for make, _ in METHODS.values():
        sets = make(0.1).fit(labels, logits=logits).predict_set(logits=logits)
        moved = make(0.1).fit(order.argsort()[labels], logits=logits[:, order]).predict_set(logits=logits[:, order])
        assert torch.equal(sets[:, order], moved)


def test_classes_of_probability_zero_are_in_a_set_together_or_not_at_all() -> None:
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(40, 3, generator=generator)
    probs = torch.cat([probs / probs.sum(dim=1, keepdim=True), torch.zeros(40, 5)], dim=1)
    for last, method in ((2, APS(0.1)), (7, APS(0.1, randomised=False)), (7, APS(0.1))):
        labels = torch.arange(40) % 3
        labels[:8] = last  # more than alpha have a label of probability zero, if last is 7
        sets = method.fit(labels, probs=probs).predict_set(probs=probs)
        assert (sets[:, 3:].all(dim=1) == sets[:, 3:].any(dim=1)).all()
        assert sets.all() == (last == 7)


def test_logits_tell_apart_what_probabilities_cannot() -> None:
    # The label's probability is 0 in single precision, but its logit is that of the second class.
    logits = torch.tensor([[900.0, 500.0, 100.0]]).expand(20, 3)
    sets = LAC(0.1).fit(torch.ones(20, dtype=torch.int64), logits=logits).predict_set(logits=logits)
    assert sets[0].tolist() == [True, True, False]


def test_empty_sets_get_the_top_class_alone(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    _, others = _draw(generator)
    sets = APS(0.4).fit(labels, logits=logits).predict_set(logits=others)
    filled = APS(0.4, allow_empty=False).fit(labels, logits=logits).predict_set(logits=others)
    empty = ~sets.any(dim=1)
    assert 0 < empty.sum() < len(empty)
    assert torch.equal(sets[~empty], filled[~empty])
    assert torch.equal(filled[empty].nonzero()[:, 1], others[empty].argmax(dim=1))


@pytest.mark.parametrize("seed", [0, 1])
def test_randomised_sets_keep_their_promise_for_every_seed(seed: int) -> None:
    """Numbers that hang on the position would be the same for everybody's first samples."""
    generator, hits, repeats, n = torch.Generator().manual_seed(0), 0, 300, 19
    for _ in range(repeats):
        logits = 1.5 * torch.randn(n + 100, 2, generator=generator)
        labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
        aps = APS(0.1, seed=seed).fit(labels[:n], logits=2 * logits[:n])
        hits += int(aps.predict_set(logits=2 * logits[n:]).gather(1, labels[n:, None]).sum())
    # Given the calibration samples coverage is Beta(18, 2), whose standard deviation is .065.
    assert hits / (100 * repeats) == pytest.approx(0.9, abs=4 * math.hypot(0.065, 0.03) / math.sqrt(repeats))


def test_samples_one_by_one_and_in_single_precision_have_the_same_sets(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    _, others = _draw(generator, 60)
    aps = APS(0.1).fit(labels, logits=logits)
    sets = aps.predict_set(logits=others)
    assert torch.equal(torch.cat([aps.predict_set(logits=row[None]) for row in others]), sets)
    assert torch.equal(aps.predict_set(logits=others.float()), sets)


def test_seed_and_index_take_part_in_the_numbers(generator: torch.Generator) -> None:
    _, logits = _draw(generator)
    scores = APS(0.1).scores(logits=logits)
    assert not torch.equal(scores, APS(0.1, seed=1).scores(logits=logits))
    alike = logits[:1].expand(300, 6)
    assert len(APS(0.1).scores(logits=alike).unique(dim=0)) == 1
    assert len(APS(0.1).scores(logits=alike, index=torch.arange(300)).unique(dim=0)) == 300


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_numbers_of_predictions_are_uniform_whatever_they_predict(generator: torch.Generator, classes: int) -> None:
    logits = 3 * torch.randn(20_000, classes, generator=generator, dtype=torch.float64)
    log_probs = logits.log_softmax(dim=1)
    u = predicted_uniform(log_probs, torch.zeros(20_000, dtype=torch.float64), 0)
    for rows in (log_probs.amax(dim=1).argsort()[:10_000], log_probs.amax(dim=1).argsort()[10_000:]):
        places = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
        assert (u[rows].sort().values - places).abs().max() < 2.2 / math.sqrt(10_000)  # Kolmogorov and Smirnov
    assert torch.corrcoef(torch.stack([u, log_probs.amax(dim=1)]))[0, 1].abs() < 0.04


def test_hashed_numbers_are_uniform_and_independent() -> None:
    index = torch.arange(1 << 16)
    columns = [hashed_uniform(index, seed, purpose) for seed, purpose in ((0, 0), (0, 1), (1, 0), (-5, 3))]
    edge = 5 / math.sqrt(len(index))
    for u in columns:
        assert u.min() > 0
        assert u.max() < 1
        assert (u.sort().values - (index + 0.5) / len(index)).abs().max() < edge / 2  # Kolmogorov and Smirnov
        assert torch.corrcoef(torch.stack([u[1:], u[:-1]]))[0, 1].abs() < edge
    assert (torch.corrcoef(torch.stack(columns)) - torch.eye(4)).abs().max() < edge


def test_p_values_of_labels_are_uniform_when_smoothed(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 4000, 4)
    coarse = logits.round()  # many ties
    method = LAC(0.1).fit(labels[:2000], logits=coarse[:2000])
    values = method.p_values(logits=coarse[2000:], smoothed=True).gather(1, labels[2000:, None]).squeeze(1)
    places = torch.arange(1, 2001, dtype=torch.float64) / 2001
    assert (values.sort().values - places).abs().max() < 2.2 * math.sqrt(2 / 2000)


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="alpha must lie"):
        LAC(math.nan)
    with pytest.raises(ValueError, match="penalty must be"):
        RAPS(0.1, penalty=-1)
    with pytest.raises(ValueError, match="k_reg must be"):
        RAPS(0.1, k_reg=-1)
    with pytest.raises(ValueError, match="rank_weight must be"):
        SAPS(0.1, rank_weight=0)
    with pytest.raises(ValueError, match="wrap it: GroupConditional"):
        LAC(0.1).fit(torch.tensor([0]), logits=torch.zeros(1, 2), groups=torch.tensor([0]))
    with pytest.raises(TypeError):
        LAC(0.1).fit(torch.tensor([0]), logits=torch.zeros(1, 2), index=torch.tensor([0.5]))


def test_the_facts_name_the_papers() -> None:
    assert [facts_of(kind).references[0].year for kind in (LAC, APS, RAPS, SAPS, Margin)] == [
        2019, 2020, 2021, 2024, 2017
    ]  # fmt: skip


TEMPERATURE = 2.1209  # of these predictions, by an independent fit
GOLDEN = {  # mean size by independent code on another split, and four standard deviations between splits
    "lac": (LAC, 0.1, 2.03, 0.4),
    "aps": (APS, 0.1, 4.02, 0.8),
    "deterministic aps": (lambda a: APS(a, randomised=False), 0.1, 27.2, 2.2),
    "raps": (lambda a: RAPS(a, penalty=0.02, k_reg=2), 0.1, 2.85, 0.4),
    "lac at 0.05": (LAC, 0.05, 3.60, 0.8),
    "aps at 0.05": (APS, 0.05, 6.53, 1.6),
    "deterministic aps at 0.05": (lambda a: APS(a, randomised=False), 0.05, 37.8, 4.0),
    "raps at 0.05": (lambda a: RAPS(a, penalty=0.02, k_reg=2), 0.05, 3.97, 0.9),
}


@pytest.fixture(scope="module")
def densenet(shared_data) -> tuple[torch.Tensor, torch.Tensor]:
    with np.load(shared_data / "predictions" / "cifar100-densenet-probs.npz") as file:
        labels, probs = torch.tensor(file["labels"]), torch.tensor(file["probs"])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return labels[order], (probs.clamp_min(1e-38).log() / TEMPERATURE)[order]


@pytest.mark.parametrize("name", GOLDEN)
def test_real_predictions_give_sets_of_the_independent_size(densenet, name: str) -> None:
    labels, logits = densenet
    make, alpha, size, tolerance = GOLDEN[name]
    sets = make(alpha).fit(labels[:3000], logits=logits[:3000]).predict_set(logits=logits[3000:])
    report = evaluate_sets(labels[3000:], sets, alpha, calibration_samples=3000)
    assert report.mean_size.value == pytest.approx(size, abs=tolerance)
    assert report.coverage.value == pytest.approx(1 - alpha, abs=0.02)
    empty = {"aps": 0.035, "deterministic aps": 0.095}
    if name in empty:
        assert report.empty_rate == pytest.approx(empty[name], abs=0.012)


class _Fixed:
    """A classifier in the shape that the peer asks for: its inputs are the probabilities."""

    def __init__(self, classes: int) -> None:
        self.classes_ = np.arange(classes)

    def fit(self, x, y):
        return self

    def predict_proba(self, x):
        return x

    def predict(self, x):
        return x.argmax(axis=1)

    def __sklearn_is_fitted__(self) -> bool:
        return True


def test_lac_agrees_with_an_independent_package(generator: torch.Generator) -> None:
    classification = pytest.importorskip("mapie.classification", reason="needs mapie, of the dev extra")
    labels, logits = _draw(generator, 200)
    _, others = _draw(generator, 100)
    probs = logits.softmax(dim=1)
    peer = classification.SplitConformalClassifier(_Fixed(6), confidence_level=0.9, prefit=True)
    peer.conformalize(probs.numpy(), labels.numpy())
    _, expected = peer.predict_set(others.softmax(dim=1).numpy())
    sets = LAC(0.1).fit(labels, probs=probs).predict_set(logits=others)
    assert torch.equal(sets, torch.tensor(expected[:, :, 0]))


def test_randomised_aps_has_sets_of_the_size_of_an_independent_package(generator: torch.Generator) -> None:
    classification = pytest.importorskip("mapie.classification", reason="needs mapie, of the dev extra")
    labels, logits = _draw(generator, 2000)
    _, others = _draw(generator, 2000)
    probs, tested = logits.softmax(dim=1).numpy(), others.softmax(dim=1).numpy()
    peer = classification.SplitConformalClassifier(
        _Fixed(6), confidence_level=0.9, conformity_score="aps", prefit=True, random_state=0
    )
    peer.conformalize(probs, labels.numpy())
    _, expected = peer.predict_set(tested, conformity_score_params={"include_last_label": "randomized"})
    sets = APS(0.1).fit(labels, logits=logits).predict_set(logits=others)
    assert sets.sum(dim=1).double().mean() == pytest.approx(expected.sum(axis=1).mean(), abs=0.15)
