"""Head variation: what the records of the searches say, head by head."""

import json
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from trueline.counterfactual._find_counterfactuals import find_counterfactuals
from trueline.counterfactual._head_variation import compare_heads, head_variation
from trueline.counterfactual._heads import fit_head
from trueline.counterfactual._local_support import LocalSupport
from trueline.counterfactual._published_probe import published_probe_later

pytest.importorskip("sklearn")


def _blobs(seed: int, size: int = 60) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(size) % 3
    centres = torch.tensor([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
    return centres[labels] + torch.randn(size, 2, generator=generator), labels


TRAIN, REFERENCE, EXAMPLES = _blobs(0), _blobs(1), _blobs(2)
SUPPORT = LocalSupport(*REFERENCE, k=5)


def test_the_table_is_that_of_the_single_searches() -> None:
    heads = {name: fit_head(name, *TRAIN) for name in ("ridge", "prototype")}
    search = partial(published_probe_later, radius=1.5, steps=30, step=0.1)
    found = compare_heads(heads, *EXAMPLES, SUPPORT, search=search)
    for row, (name, head) in enumerate(heads.items()):
        record = search(head, EXAMPLES[0], SUPPORT)
        outcome = found.heads[name]
        assert torch.equal(found.success[row], record.success)
        assert torch.equal(found.supported[row], record.supported)
        assert torch.equal(found.distance[row], record.distance)
        assert torch.equal(found.boundary[row], record.boundary_distance)
        assert torch.equal(found.support[row], record.start_radius)
        assert (outcome.success, outcome.supported) == (record.success_rate, record.supported_rate)
        assert outcome.distance == record.mean_distance
        hits = head(EXAMPLES[0]).argmax(dim=1) == EXAMPLES[1]
        assert torch.equal(found.hits[row], hits)
        assert outcome.accuracy.value == pytest.approx(hits.double().mean().item())
        assert outcome.accuracy.low < outcome.accuracy.value < outcome.accuracy.high
        loss = torch.nn.functional.cross_entropy(head(EXAMPLES[0]).double(), EXAMPLES[1])
        assert outcome.cross_entropy.value == pytest.approx(loss.item())
        assert outcome.boundary.value == pytest.approx(record.boundary_distance.mean().item())
    values = [head.success.value for head in found.heads.values()]
    assert found.success_range == pytest.approx(max(values) - min(values))


def test_a_multiple_of_a_head_is_the_same_to_our_search_and_another_to_the_published() -> None:
    head = fit_head("logistic_optimum", *TRAIN)
    quiet = fit_head("logistic_optimum", *TRAIN)
    with torch.no_grad():
        for parameter in quiet.parameters():
            parameter.mul_(0.01)
    heads = {"loud": head, "quiet": quiet}
    ours = compare_heads(heads, *EXAMPLES, SUPPORT, search=find_counterfactuals)
    assert torch.equal(ours.success[0], ours.success[1])
    assert torch.allclose(ours.distance[0], ours.distance[1], atol=1e-4)
    published = compare_heads(heads, *EXAMPLES, SUPPORT, search=partial(published_probe_later, steps=60))
    assert published.heads["quiet"].success.value < published.heads["loud"].success.value
    assert published.accuracy_range == 0


def test_each_kind_varies_over_what_it_knows() -> None:
    found = head_variation(
        *TRAIN,
        *EXAMPLES,
        SUPPORT,
        kinds=("logistic", "ridge", "prototype"),
        seeds=(0, 3),
        weight_decays=(1e-3, 1.0),
        search=partial(find_counterfactuals, steps=20),
    )
    assert list(found.heads) == [
        "logistic, seed 0, decay 0.001",
        "logistic, seed 0, decay 1",
        "logistic, seed 3, decay 0.001",
        "logistic, seed 3, decay 1",
        "ridge, decay 0.001",
        "ridge, decay 1",
        "prototype",
    ]
    one = fit_head("logistic", *TRAIN, seed=3, weight_decay=1.0)
    alone = compare_heads({"one": one}, *EXAMPLES, SUPPORT, search=partial(find_counterfactuals, steps=20))
    assert torch.equal(alone.distance[0], found.distance[3])
    assert alone.success_range == 0


def test_what_explains_the_table_and_what_has_nothing_to_explain() -> None:
    kinds, search = ("ridge", "lda", "prototype"), partial(find_counterfactuals, radius=0.3)
    found = head_variation(*TRAIN, *EXAMPLES, SUPPORT, kinds=kinds, weight_decays=(1e-3, 1.0), search=search)
    assert len(found.regression().held_out) == found.success.numel()
    explained = found.regression("distance")
    assert len(explained.held_out) == int(found.success.sum())
    # The straight way to a linear boundary is its distance, up to the last step and the pull of the data.
    assert explained.fits["boundary"].spearman > 0.8
    always = compare_heads(
        {"ridge": fit_head("ridge", *TRAIN)}, *EXAMPLES, SUPPORT, search=partial(find_counterfactuals, radius=50.0)
    )
    assert always.success.all()
    with pytest.raises(ValueError, match="the outcome is 1 at all 48 fitted samples"):
        always.regression("success")
    assert len(always.regression("distance").held_out) == 60
    never = compare_heads(
        {"ridge": fit_head("ridge", *TRAIN)}, *EXAMPLES, SUPPORT, search=partial(published_probe_later, radius=1e-6)
    )
    assert not never.success.any()
    with pytest.raises(ValueError, match="no head has two examples with a distance"):
        never.regression("distance")
    with pytest.raises((ValueError, TypeError), match="steps"):
        never.regression("steps")  # type: ignore[arg-type]
    assert never.heads["ridge"].distance is None
    assert "distance none" in str(never)


def test_the_record_speaks_is_plain_and_is_drawn() -> None:
    found = compare_heads({"ridge": fit_head("ridge", *TRAIN)}, *EXAMPLES, SUPPORT)
    assert str(found).startswith("1 heads on the same 60 embeddings: accuracies within 0.0%")
    assert "ridge: accuracy" in str(found)
    assert (
        json.loads(json.dumps(found.to_dict()))["heads"]["ridge"]["success"]["value"]
        == found.success[0].double().mean()
    )
    pytest.importorskip("altair")
    assert "flipped" in str(found.plot().to_dict())


def test_heads_are_left_as_found() -> None:
    head = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 3)).train()
    state = {name: value.clone() for name, value in head.state_dict().items()}
    before = torch.get_rng_state()
    compare_heads({"it": head}, *EXAMPLES, SUPPORT)
    assert head.training
    assert all(torch.equal(value, state[name]) for name, value in head.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in head.parameters())
    assert torch.equal(before, torch.get_rng_state())


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least one module"):
        compare_heads({}, *EXAMPLES, SUPPORT)
    head = {"ridge": fit_head("ridge", *TRAIN)}
    with pytest.raises(ValueError, match="labels must lie in"):
        compare_heads(head, EXAMPLES[0], EXAMPLES[1] + 1, SUPPORT)
    for option in ({"kinds": ()}, {"seeds": (1, 1)}, {"weight_decays": ()}):
        with pytest.raises(ValueError, match=f"{next(iter(option))} must hold at least one value and none twice"):
            head_variation(*TRAIN, *EXAMPLES, SUPPORT, **option)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="did you mean 'ridge'"):
        head_variation(*TRAIN, *EXAMPLES, SUPPORT, kinds=("rigde",))
