"""The decomposition without bins: identities, invariances, weights, saturation and the slow twin."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import decomposition as oracle

from trueline.contracts import facts_of
from trueline.measure import brier, corp_decomposition, log_loss
from trueline.measure._corp import CorpDecomposition, from_top_label

PARTS = ("score", "miscalibration", "discrimination", "uncertainty")
SCORES = ("brier", "log_loss")


def _parts(record: CorpDecomposition) -> list[float]:
    return [getattr(record, name) for name in PARTS]


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[float], list[float], list[float]]:
    """Confidences with many ties, hits, and whole weights."""
    n = draw(st.integers(1, 14))
    confidence = draw(st.lists(st.sampled_from([0.5, 0.6, 0.8, 0.95]), min_size=n, max_size=n))
    hits = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n))
    weights = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    weights[draw(st.integers(0, n - 1))] = 2
    return confidence, hits, [float(w) for w in weights]


def test_a_constant_confidence_is_only_miscalibrated() -> None:
    confidence, hit = torch.full((10,), 0.9, dtype=torch.float64), torch.arange(10) < 7
    assert _parts(from_top_label(confidence, hit)) == pytest.approx([0.25, 0.04, 0, 0.21])
    divergence = 0.7 * math.log(0.7 / 0.9) + 0.3 * math.log(0.3 / 0.1)
    entropy = -0.7 * math.log(0.7) - 0.3 * math.log(0.3)
    record = from_top_label(confidence, hit, score="log_loss")
    assert _parts(record) == pytest.approx([entropy + divergence, divergence, 0, entropy])


def test_a_confidence_that_separates_right_from_wrong_discriminates_all_there_is() -> None:
    confidence = torch.tensor([0.5, 0.6, 0.7, 0.8], dtype=torch.float64)
    for score in SCORES:
        record = from_top_label(confidence, torch.tensor([False, False, True, True]), score=score)
        assert record.discrimination == pytest.approx(record.uncertainty)
        assert record.miscalibration == pytest.approx(record.score)
        alike = from_top_label(confidence, torch.ones(4, dtype=torch.bool), score=score)
        assert (alike.discrimination, alike.uncertainty) == (0, 0)


@pytest.mark.parametrize("score", SCORES)
@given(problem=problems())
@settings(deadline=None, max_examples=50)
def test_the_parts_add_up_and_equal_the_slow_twin(problem, score: str) -> None:
    confidence, hits, weights = problem
    given_hits = torch.tensor(hits).bool()
    for given_weights in (None, weights):
        weight = None if given_weights is None else torch.tensor(given_weights)
        record = from_top_label(torch.tensor(confidence, dtype=torch.float64), given_hits, weight=weight, score=score)
        expected = oracle.corp_parts(confidence, hits, score, given_weights)
        assert _parts(record) == pytest.approx(expected, abs=1e-12)
        assert record.score == pytest.approx(record.miscalibration - record.discrimination + record.uncertainty)
        assert min(_parts(record)) >= 0


@pytest.mark.parametrize("score", SCORES)
@given(problem=problems())
@settings(deadline=None, max_examples=30)
def test_weights_are_repetitions_and_order_does_not_matter(problem, score: str) -> None:
    confidence, weight = torch.tensor(problem[0], dtype=torch.float64), torch.tensor(problem[2], dtype=torch.float64)
    hit = torch.tensor(problem[1]).bool()
    record = from_top_label(confidence, hit, weight=weight, score=score)
    times, present, rows = weight.long(), weight > 0, torch.arange(len(hit)).flip(0)
    for same in (
        from_top_label(confidence.repeat_interleave(times), hit.repeat_interleave(times), score=score),
        from_top_label(confidence[present], hit[present], weight=weight[present], score=score),
        from_top_label(confidence, hit, weight=0.37 * weight, score=score),
        from_top_label(confidence[rows], hit[rows], weight=weight[rows], score=score),
    ):
        assert _parts(same) == pytest.approx(_parts(record), abs=1e-12)
    ones = from_top_label(confidence, hit, weight=torch.ones(len(hit)), score=score)
    assert ones == from_top_label(confidence, hit, score=score)


@pytest.mark.parametrize("score", SCORES)
def test_two_classes_have_the_score_of_the_whole_prediction(generator: torch.Generator, score: str) -> None:
    logits = 2 * torch.randn(300, generator=generator, dtype=torch.float64)
    labels = (torch.rand(300, generator=generator, dtype=torch.float64) < logits.sigmoid()).long()
    record = corp_decomposition(labels, logits=logits, score=score)
    # The error of the top label is the error of the other: the full Brier score counts both.
    whole = brier(labels, logits=logits).mean() / 2 if score == "brier" else log_loss(labels, logits=logits).mean()
    assert record.score == pytest.approx(whole.item())
    assert _parts(corp_decomposition(labels, probs=logits.sigmoid(), score=score)) == pytest.approx(_parts(record))


@pytest.mark.parametrize("score", SCORES)
def test_discrimination_depends_on_the_order_of_confidences_only(generator: torch.Generator, score: str) -> None:
    confidence = torch.rand(200, generator=generator, dtype=torch.float64) * 0.98 + 0.01
    hit = torch.rand(200, generator=generator, dtype=torch.float64) < confidence
    record, squared = (from_top_label(c, hit, score=score) for c in (confidence, confidence**2))
    assert squared.discrimination == pytest.approx(record.discrimination, abs=1e-12)
    assert squared.uncertainty == record.uncertainty
    assert squared.miscalibration > record.miscalibration


def test_a_saturated_error_has_the_log_loss_that_the_other_classes_allow() -> None:
    labels = torch.tensor([1, 0])
    for dtype in (torch.float32, torch.float64):
        probs = torch.tensor([[1, 1e-20], [1, 0]], dtype=dtype)
        record = corp_decomposition(labels, probs=probs, score="log_loss")
        assert record.score == pytest.approx(20 * math.log(10) / 2)
        exact = corp_decomposition(labels, probs=torch.eye(2, dtype=dtype)[[0, 0]], score="log_loss")
        assert exact.score == pytest.approx(-math.log(torch.finfo(dtype).tiny) / 2)
        assert exact.score == pytest.approx(log_loss(labels, probs=torch.eye(2, dtype=dtype)[[0, 0]]).mean().item())
    assert corp_decomposition(labels, logits=torch.tensor([[100.0, 0], [100, 0]]), score="log_loss").score == 50
    assert corp_decomposition(labels, logits=torch.tensor([[1e4, 0], [1e4, 0]]), score="log_loss").score < 355
    right = corp_decomposition(torch.tensor([0, 0]), probs=torch.eye(2)[[0, 0]], score="log_loss")
    assert _parts(right) == [0, 0, 0, 0]


def test_an_error_without_weight_beside_certain_hits_is_as_if_absent() -> None:
    confidence, hit = torch.tensor([0.9, 0.9]), torch.tensor([True, False])
    record = from_top_label(confidence, hit, weight=torch.tensor([1.0, 0.0]), score="log_loss")
    assert _parts(record) == pytest.approx([-math.log(0.9), -math.log(0.9), 0, 0], abs=1e-7)


def test_real_predictions(predictions) -> None:
    for name in ("F1", "F4", "F6 test", "F7"):
        labels, given_as = predictions(name)
        for score in SCORES:
            record = corp_decomposition(labels, **given_as, score=score)
            assert all(math.isfinite(part) and part > 0 for part in _parts(record))
            assert record.score == pytest.approx(record.miscalibration - record.discrimination + record.uncertainty)


def test_the_parts_measured_elsewhere(predictions) -> None:
    labels, given_as = predictions("F1")
    record = corp_decomposition(labels, **given_as)
    assert _parts(record) == pytest.approx([0.066339, 0.00933, 0.02415, 0.08116], abs=6e-6)


def test_the_dictionary_is_strict_json() -> None:
    record = corp_decomposition(torch.tensor([0]), probs=torch.tensor([[0.9, 0.1]]))
    assert json.loads(json.dumps(record.to_dict(), allow_nan=False)) == record.to_dict()
    assert set(record.to_dict()) == set(PARTS)


def test_bad_input_is_refused() -> None:
    labels, probs = torch.tensor([0]), torch.tensor([[0.9, 0.1]])
    with pytest.raises((TypeError, ValueError), match="score"):
        corp_decomposition(labels, probs=probs, score="hinge")
    with pytest.raises(ValueError, match="weight must be finite"):
        corp_decomposition(labels, probs=probs, weight=torch.tensor([0.0]))
    with pytest.raises(ValueError, match="labels must lie in"):
        corp_decomposition(torch.tensor([2]), probs=probs)


def test_it_carries_its_reference() -> None:
    assert facts_of(corp_decomposition).references[0].arxiv == "2008.03033"
