"""The parts of the Brier score: the identity, cases worked by hand, weights, the slow twin and streaming sums."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import calibration as bins_oracle
from oracles import decomposition as oracle

from trueline.contracts import facts_of
from trueline.measure import brier, brier_decomposition
from trueline.measure._brier_decomposition import BrierSums
from trueline.numerics import bin_index, equal_mass_edges

PARTS = ("reliability", "resolution", "uncertainty", "within_bin_variance", "within_bin_covariance")


def _parts(record) -> list[float]:
    return [getattr(record, name) for name in PARTS]


def _sum(record) -> float:
    rel, res, unc, variance, covariance = _parts(record)
    return rel - res + unc + variance - covariance


@st.composite
def problems(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Labels, probabilities with many ties, ones and zeros, and whole weights."""
    rows = draw(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3).filter(any), min_size=1, max_size=20))
    labels = draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows)))
    weight = draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    weight[0] += 1
    counts = torch.tensor(rows, dtype=torch.float64)
    return torch.tensor(labels), counts / counts.sum(dim=1, keepdim=True), torch.tensor(weight, dtype=torch.float64)


def test_a_case_worked_by_hand() -> None:
    """One bin: class 1 has probabilities 0.25 and 0.75, and is right about both."""
    record = brier_decomposition(torch.tensor([0, 1]), probs=torch.tensor([0.25, 0.75]), bins=1)
    # For either class f_b = y_b = 1/2; variances 1/16; covariance 1/8, doubled.
    assert _parts(record) == pytest.approx([0, 0, 0.5, 0.125, 0.5], abs=1e-15)
    assert record.score == pytest.approx(0.125, abs=1e-15)


def test_perfect_constant_and_uninformative_predictions() -> None:
    perfect = brier_decomposition(torch.tensor([0, 1, 2]), probs=torch.eye(3))
    assert _parts(perfect) == pytest.approx([0, 2 / 3, 2 / 3, 0, 0], abs=1e-15)
    assert perfect.score == 0
    labels = torch.tensor([0] * 7 + [1] * 3)
    honest = brier_decomposition(labels, probs=torch.tensor([[0.7, 0.3]], dtype=torch.float64).expand(10, 2))
    assert _parts(honest) == pytest.approx([0, 0, 0.42, 0, 0], abs=1e-15)
    boastful = brier_decomposition(labels, probs=torch.tensor([[0.9, 0.1]], dtype=torch.float64).expand(10, 2))
    assert _parts(boastful) == pytest.approx([0.08, 0, 0.42, 0, 0], abs=1e-15)
    alone = brier_decomposition(torch.tensor([1]), probs=torch.tensor([[0.75, 0.25]]))
    assert _parts(alone) == pytest.approx([1.125, 0, 0, 0, 0], abs=1e-15)


@pytest.mark.parametrize("binning", ["width", "mass"])
@given(problem=problems(), bins=st.integers(1, 9))
@settings(deadline=None, max_examples=40)
def test_the_parts_add_up_and_equal_the_slow_twin(problem, bins: int, binning: str) -> None:
    labels, probs, weight = problem
    for given_weight in (None, weight):

        def bins_of(column: list[float], given_weight: torch.Tensor | None = given_weight) -> list[int]:
            if binning == "width" or given_weight is None:
                return (bins_oracle.width_bins if binning == "width" else bins_oracle.mass_bins)(column, bins)
            values = torch.tensor(column, dtype=torch.float64)
            return bin_index(values, equal_mass_edges(values, bins, weight=given_weight)).tolist()

        record = brier_decomposition(labels, probs=probs, weight=given_weight, bins=bins, binning=binning)
        scores = brier(labels, probs=probs)
        share = torch.ones_like(scores) if given_weight is None else given_weight
        assert record.score == pytest.approx(((share @ scores) / share.sum()).item(), abs=1e-12)
        assert _sum(record) == pytest.approx(record.score, abs=1e-12)
        assert min(_parts(record)[:4]) >= 0
        listed = None if given_weight is None else given_weight.tolist()
        expected = oracle.brier_parts(probs.tolist(), labels.tolist(), bins_of, listed)
        assert _parts(record) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("binning", ["width", "mass"])
@given(problem=problems())
@settings(deadline=None, max_examples=40)
def test_zero_weight_is_absence_and_neither_scale_nor_order_matters(problem, binning: str) -> None:
    labels, probs, weight = problem
    record = brier_decomposition(labels, probs=probs, weight=weight, bins=4, binning=binning)
    present, rows, classes = weight > 0, torch.arange(len(labels)).flip(0), torch.tensor([2, 0, 1])
    for same in (
        brier_decomposition(labels[present], probs=probs[present], weight=weight[present], bins=4, binning=binning),
        brier_decomposition(labels, probs=probs, weight=0.37 * weight, bins=4, binning=binning),
        brier_decomposition(labels[rows], probs=probs[rows], weight=weight[rows], bins=4, binning=binning),
        brier_decomposition(classes.argsort()[labels], probs=probs[:, classes], weight=weight, bins=4, binning=binning),
    ):
        assert _parts(same) == pytest.approx(_parts(record), abs=1e-12)
    ones = brier_decomposition(labels, probs=probs, weight=torch.ones(len(labels)), bins=4, binning=binning)
    assert ones == brier_decomposition(labels, probs=probs, bins=4, binning=binning)


@given(problem=problems())
@settings(deadline=None, max_examples=40)
def test_weights_are_repetitions_in_bins_of_equal_width(problem) -> None:
    labels, probs, weight = problem
    times = weight.long()
    record = brier_decomposition(labels, probs=probs, weight=weight)
    same = brier_decomposition(labels.repeat_interleave(times), probs=probs.repeat_interleave(times, dim=0))
    assert _parts(same) == pytest.approx(_parts(record), abs=1e-12)


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_logits_and_their_softmax_agree(generator: torch.Generator, binning: str) -> None:
    logits = 3 * torch.randn(400, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(5, (400,), generator=generator)
    from_logits = brier_decomposition(labels, logits=logits, binning=binning)
    from_probs = brier_decomposition(labels, probs=logits.softmax(dim=1), binning=binning)
    assert _parts(from_logits) == pytest.approx(_parts(from_probs), abs=1e-13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_saturated_and_short_precision_probabilities(dtype: torch.dtype) -> None:
    probs = torch.eye(2, dtype=dtype)[[0, 0, 0, 0]]
    for binning in ("width", "mass"):
        record = brier_decomposition(torch.tensor([0, 0, 0, 1]), probs=probs, binning=binning)
        assert _parts(record) == pytest.approx([0.125, 0, 0.375, 0, 0], abs=1e-15)
        assert record.score == 0.5
    # 0.3 lies on an edge of ten bins in every dtype, whatever it is rounded to: class 0 has one bin, class 1 two.
    decimals = torch.tensor([[0.3, 0.7], [0.25, 0.75]], dtype=dtype)
    record = brier_decomposition(torch.tensor([0, 1]), probs=decimals, bins=10)
    assert record.resolution == pytest.approx(0.25, abs=1e-15)


def test_streaming_sums_equal_one_block_and_merge(generator: torch.Generator) -> None:
    probs = torch.randn(100, 4, generator=generator, dtype=torch.float64).softmax(dim=1)
    labels = torch.randint(4, (100,), generator=generator)
    weight = torch.rand(100, generator=generator, dtype=torch.float64)
    first, second, third = BrierSums(4, 15), BrierSums(4, 15), BrierSums(4, 15)
    first.add(labels[:30], probs[:30], weight[:30])
    first.add(labels[30:60], probs[30:60], weight[30:60])
    before = first.result()
    second.add(labels[60:], probs[60:], weight[60:])
    merged = first.merge(second).merge(third).result()
    assert _parts(merged) == pytest.approx(_parts(brier_decomposition(labels, probs=probs, weight=weight)), abs=1e-13)
    assert first.result() == before
    with pytest.raises(ValueError, match="same classes and bins"):
        first.merge(BrierSums(4, 10))
    with pytest.raises(ValueError, match="at least one sample"):
        third.result()


def test_real_predictions_add_up_to_their_brier_score(predictions) -> None:
    for name, score in (("F1", 0.143871), ("F4", 0.384504), ("F6 test", 0.080055), ("F7", 0.105446)):
        labels, given_as = predictions(name)
        record = brier_decomposition(labels, **given_as)
        assert record.score == pytest.approx(score, abs=1e-6)
        assert _sum(record) == pytest.approx(record.score, abs=1e-12)


def test_the_dictionary_is_strict_json() -> None:
    record = brier_decomposition(torch.tensor([0]), probs=torch.tensor([[0.9, 0.1]]))
    assert json.loads(json.dumps(record.to_dict(), allow_nan=False)) == record.to_dict()
    assert set(record.to_dict()) == {*PARTS, "score"}


def test_bad_input_is_refused() -> None:
    labels, probs = torch.tensor([0]), torch.tensor([[0.9, 0.1]])
    with pytest.raises(ValueError, match="bins must be at least 1"):
        brier_decomposition(labels, probs=probs, bins=0)
    with pytest.raises((TypeError, ValueError), match="binning"):
        brier_decomposition(labels, probs=probs, binning="depth")
    with pytest.raises(ValueError, match="weight must be finite"):
        brier_decomposition(labels, probs=probs, weight=torch.tensor([0.0]))
    with pytest.raises(ValueError, match="labels must lie in"):
        brier_decomposition(torch.tensor([2]), probs=probs)


def test_it_carries_its_references() -> None:
    assert [reference.year for reference in facts_of(brier_decomposition).references] == [1973, 2008]
