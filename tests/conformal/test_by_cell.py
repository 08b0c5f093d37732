"""Thresholds by class, group and cluster: the battery, the slow twin, cells of few or no samples."""

import math

import pytest
import torch
from oracles import conformal as oracle

from trueline.conformal import APS, LAC, ClassConditional, ClusterConditional, GroupConditional, conformal_p_values
from trueline.contracts import check_conformal


def _draw(
    generator: torch.Generator, samples: int = 400, classes: int = 5
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    logits = 2 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
    return labels, logits, torch.randint(3, (samples,), generator=generator)


@pytest.mark.parametrize("wrap", [ClassConditional, ClusterConditional])  # groups: test_check_conformal
def test_they_keep_the_contract(wrap) -> None:
    check_conformal(lambda alpha: wrap(LAC(alpha)))


def test_each_class_has_the_quantile_of_its_own_samples(generator: torch.Generator) -> None:
    labels, logits, _ = _draw(generator)
    method = ClassConditional(LAC(0.1)).fit(labels, logits=logits)
    own = -logits.log_softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
    assert method.threshold_.tolist() == oracle.thresholds_by_cell(own.tolist(), labels.tolist(), 5, 0.1)


def test_each_group_is_a_method_of_its_own(generator: torch.Generator) -> None:
    labels, logits, groups = _draw(generator)
    names = torch.tensor([40, 7, 1_000_000_000])[groups]
    index = torch.arange(400)
    method = GroupConditional(APS(0.2)).fit(labels, logits=logits, groups=names, index=index)
    sets = method.predict_set(logits=logits, groups=names, index=index)
    values = method.p_values(logits=logits, groups=names, index=index)
    for g in range(3):
        rows = groups == g
        alone = APS(0.2).fit(labels[rows], logits=logits[rows], index=index[rows])
        assert torch.equal(sets[rows], alone.predict_set(logits=logits[rows], index=index[rows]))
        assert torch.equal(values[rows], alone.p_values(logits=logits[rows], index=index[rows]))


@pytest.mark.parametrize("smoothed", [False, True])
def test_p_values_by_class_are_those_of_its_own_samples(generator: torch.Generator, smoothed: bool) -> None:
    labels, logits, _ = _draw(generator)
    coarse = logits.round()  # ties within and between classes
    method = ClassConditional(LAC(0.1)).fit(labels, logits=coarse)
    scores = method.scores(logits=coarse)
    own = scores.gather(1, labels[:, None]).squeeze(1)
    values = method.p_values(logits=coarse, smoothed=smoothed)
    for k in range(5):
        if smoothed:
            least = [oracle.p_value(own[labels == k].tolist(), s, 0.0) for s in scores[:50, k].tolist()]
            most = [oracle.p_value(own[labels == k].tolist(), s, 1.0) for s in scores[:50, k].tolist()]
            assert (values[:50, k] >= torch.tensor(least, dtype=torch.float64)).all()
            assert (values[:50, k] <= torch.tensor(most, dtype=torch.float64)).all()
        else:
            assert torch.equal(values[:, k], conformal_p_values(own[labels == k], scores[:, k]))


def test_classes_of_few_or_no_samples_are_in_every_set(generator: torch.Generator) -> None:
    labels, logits, _ = _draw(generator)
    rare = (labels == 2).nonzero().squeeze(1)[3:]
    labels[rare], labels[labels == 4] = 0, 1
    with pytest.warns(UserWarning, match=r"too few for alpha = 0.1, those of class 2, class 4: .* at least 9"):
        method = ClassConditional(LAC(0.1)).fit(labels, logits=logits)
    assert method.threshold_.isinf().tolist() == [False, False, True, False, True]
    assert method.predict_set(logits=logits)[:, [2, 4]].all()
    assert (method.p_values(logits=logits)[:, 4] == 1).all()
    assert (method.p_values(logits=logits)[:, 2] >= 0.25).all()


def test_an_unknown_group_gets_full_sets(generator: torch.Generator) -> None:
    labels, logits, groups = _draw(generator)
    method = GroupConditional(LAC(0.1)).fit(labels, logits=logits, groups=groups)
    unknown = torch.full((400,), 9)
    assert method.predict_set(logits=logits, groups=unknown).all()
    assert (method.p_values(logits=logits, groups=unknown) == 1).all()


def test_groups_cover_where_one_threshold_does_not(generator: torch.Generator) -> None:
    labels, logits, groups = _draw(generator, 6000)
    honest = logits * torch.tensor([1.0, 1.0, 4.0])[groups][:, None]  # over-confident in the third group
    fit, test = slice(0, 3000), slice(3000, None)
    method = GroupConditional(LAC(0.1)).fit(labels[fit], logits=honest[fit], groups=groups[fit])
    alone = LAC(0.1).fit(labels[fit], logits=honest[fit])
    hard = groups[test] == 2
    inside = {
        "by group": method.predict_set(logits=honest[test], groups=groups[test]),
        "at once": alone.predict_set(logits=honest[test]),
    }
    covered = {name: sets.gather(1, labels[test][:, None])[hard].double().mean() for name, sets in inside.items()}
    assert covered["by group"] == pytest.approx(0.9, abs=4 * math.sqrt(2 * 0.09 / 1000))
    assert covered["at once"] < 0.8


def _two_kinds(generator: torch.Generator, samples: int = 2400) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes 0, 2 and 4 are easy, 1, 3 and 5 are hard."""
    labels = torch.arange(6).repeat(samples // 6)
    spread = torch.where(labels % 2 == 0, 0.2, 3.0)[:, None]
    logits = 4.0 * torch.nn.functional.one_hot(labels, 6) + spread * torch.randn(samples, 6, generator=generator)
    return labels, logits.double()


def test_clusters_are_classes_with_similar_scores(generator: torch.Generator) -> None:
    labels, logits = _two_kinds(generator)
    method = ClusterConditional(LAC(0.1), clusters=2, share=0.4).fit(labels, logits=logits)
    even, odd = method.cluster_[::2], method.cluster_[1::2]
    assert len(even.unique()) == len(odd.unique()) == 1
    assert even[0] != odd[0]
    sets = method.predict_set(logits=_two_kinds(generator)[1])
    hits = sets.gather(1, labels[:, None]).squeeze(1)
    for kind in (0, 1):
        # As in one threshold for each kind: 720 calibration and 1,200 test samples.
        assert hits[labels % 2 == kind].double().mean() == pytest.approx(
            0.9, abs=4 * math.sqrt(0.09 * (1 / 720 + 1 / 1200))
        )


def test_one_cluster_is_one_threshold_for_its_samples(generator: torch.Generator) -> None:
    labels, logits = _two_kinds(generator)
    method = ClusterConditional(LAC(0.1), clusters=1, share=0.4).fit(labels, logits=logits)
    assert method.cluster_.tolist() == [0] * 6
    own = method.scores_[method.cells_ == 0].tolist()
    assert method.threshold_[0].item() == oracle.quantile(own, 0.1)
    assert (method.cells_ == 1).sum() == 0
    assert len(own) == pytest.approx(0.6 * len(labels), abs=4.5 * math.sqrt(0.24 * len(labels)))


def test_rare_classes_have_a_threshold_together(generator: torch.Generator) -> None:
    labels, logits = _two_kinds(generator)
    labels[(labels == 5).nonzero().squeeze(1)[4:]] = 3
    with pytest.warns(UserWarning, match="those of the null cluster"):
        method = ClusterConditional(LAC(0.1), clusters=2, share=0.4).fit(labels, logits=logits)
    null = len(method.threshold_) - 1
    assert method.cluster_.tolist().count(null) == 1
    assert method.cluster_[5] == null
    assert (method.cells_ == null).sum() <= 4
    assert method.threshold_[null] == math.inf  # below nine samples
    assert method.predict_set(logits=logits)[:, 5].all()


def test_rare_and_hard_classes_do_not_spoil_coverage(generator: torch.Generator) -> None:
    """Judged by the quantile of all samples, as published, too few would be covered, above all of the rare classes."""
    rarity = torch.tensor([0.4, 0.4] + [0.005] * 40)
    labels = torch.multinomial(rarity, 20_000, replacement=True, generator=generator)
    logits = torch.randn(20_000, 42, generator=generator, dtype=torch.float64)
    logits[torch.arange(20_000), labels] += torch.where(labels < 2, 8.0, 0.5).double()
    method = ClusterConditional(LAC(0.1), clusters=1, share=0.15)
    hits = [
        method.fit(y[:1000], logits=z[:1000]).predict_set(logits=z[1000:]).gather(1, y[1000:, None]).squeeze(1)
        for y, z in zip(labels.view(4, -1), logits.view(4, 5000, 42), strict=True)
    ]
    covered, rare = torch.cat(hits).double(), torch.cat([y[1000:] > 1 for y in labels.view(4, -1)])
    # Of 850 samples that calibrate each time, some 170 are rare.
    assert covered.mean() > 0.9 - 4 * math.sqrt(0.09 / (4 * 850))
    assert covered[rare].mean() > 0.9 - 4 * math.sqrt(0.09 / (4 * 170))


def test_an_increasing_transform_leaves_the_clusters(generator: torch.Generator) -> None:
    class OneMinusP(LAC):
        def _scores(self, log_probs, draws):
            return 1 - log_probs.exp()

    labels, logits = _two_kinds(generator)
    first, second = (ClusterConditional(kind(0.1), clusters=2).fit(labels, logits=logits) for kind in (LAC, OneMinusP))
    assert torch.equal(first.cluster_, second.cluster_)


def test_too_few_samples_for_clusters_are_one_null_cluster(generator: torch.Generator) -> None:
    labels, logits, _ = _draw(generator, 30)
    with pytest.warns(UserWarning, match="no class has 9 samples among the .* and share one threshold") as said:
        method = ClusterConditional(LAC(0.3), share=0.3).fit(labels, logits=logits)
    assert len(said) == 1
    assert method.cluster_.tolist() == [0] * 5
    assert len(method.threshold_) == 1


def test_bad_options_are_refused() -> None:
    with pytest.raises(TypeError):
        ClassConditional(ClassConditional(LAC(0.1)))
    with pytest.raises(ValueError, match="clusters must be at least 1"):
        ClusterConditional(LAC(0.1), clusters=0)
    with pytest.raises(ValueError, match="share must lie"):
        ClusterConditional(LAC(0.1), share=1.0)
    method, labels, logits = GroupConditional(LAC(0.1)), torch.tensor([0, 1]), torch.zeros(2, 2)
    with pytest.raises(ValueError, match="has thresholds by group, got no groups"):
        method.fit(labels, logits=logits)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        method.fit(labels, logits=logits, groups=torch.tensor([-1, 0]))
    with pytest.raises(TypeError):
        method.fit(labels, logits=logits, groups=torch.tensor([0.0, 1.0]))
