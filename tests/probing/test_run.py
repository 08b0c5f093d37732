"""Running probes: what applies, what is left out and why, and how a limit in time is kept."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from trueline.contracts import facts_of
from trueline.data import Examples
from trueline.models import Normalized
from trueline.probing import PROBES, Batch, Measured, ProbeEntry, Setting, probe_subject, probing_verdict
from trueline.probing._run import within
from trueline.probing._setting import margins
from trueline.probing._telling import median_of
from trueline.probing._words import number_text
from trueline.subjects import Subject, subject_of_model

VECTORS = ["jacobian", "regions", "bound", "collapse", "criticality", "nuclear", "inequality", "input-hessian"]


def _examples(*shape: int, size: int = 60, seed: int = 0, wrong: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(size, *shape, generator=generator)
    true = (inputs.flatten(1)[:, 0] > 0.5).long() + (inputs.flatten(1)[:, 1] > 0.5).long()
    given = true.clone()
    given[:wrong] = (given[:wrong] + 1) % 3
    return Examples(inputs, given, true, ("zero", "one", "two"), torch.arange(size))


def _mlp(inputs: int = 4, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 8), activation(), nn.Linear(8, 3))


def _subject(model: nn.Module, examples: Examples) -> Subject:
    return subject_of_model(model, examples, name="mine", halves=False)


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _timed(clock: Clock, per_sample: float, once: float = 0.0, **facts: Any) -> ProbeEntry:
    """A probe that takes time and says on how many samples it was."""

    def measure(setting: Setting, batch: Batch, count: int) -> Measured:
        clock.now += once + per_sample * count
        return Measured({}, (f"on {len(batch)} samples",), ())

    return ProbeEntry("Timed", "How long?", (), measure, **facts)


@pytest.fixture
def vectors() -> Subject:
    return _subject(_mlp(), _examples(4))


@pytest.fixture
def setting(vectors: Subject) -> Setting:
    return Setting(vectors, seed=0, chunk_size=64, initial=None)


def test_the_catalogue_says_what_each_probe_asks_runs_and_needs() -> None:
    for name, entry in PROBES.items():
        assert entry.question.endswith("?"), name
        assert entry.references, name
        assert all(facts_of(function).group == "probe" for function in entry.methods), name
        assert 1 <= entry.pilot <= entry.samples or not entry.counts, name


def test_every_probe_of_vectors_finds_something_or_says_why_not(vectors: Subject) -> None:
    found = probe_subject(vectors, samples=12)
    assert [probe.name for probe in found.probes] == list(PROBES)
    assert [probe.name for probe in found.left_out] == ["arrangement", "initialisation"]
    assert not any(probe.failed for probe in found.probes)
    for probe in found.measured:
        assert probe.found is not None
        assert all(sentence.endswith(".") and "nan" not in sentence for sentence in probe.found.sentences), probe.name
        assert set(probe.found.records) <= {function.__name__ for function in PROBES[probe.name].methods}
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text)["probes"][0]["records"]["input_jacobian_norm"]["spectral"]


def test_the_probes_of_images_find_something() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)
        )
        model = Normalized(model, [0.5], [0.3])
    start = {name: tensor + 0.1 for name, tensor in model.state_dict().items()}
    cheap = [name for name in PROBES if name not in ("slice", "input-hessian", "hessian", "spectrum")]
    found = probe_subject(_subject(model, _examples(1, 4, 4, wrong=9)), cheap, samples=9, initial=start)
    assert found.left_out == ()
    assert found["sharpness"].split is not None  # wrong labels are told apart
    assert found["jacobian"].sharpest[0].picture is not None
    assert "normalisation" in found["inequality"].notes[0]
    assert "grey levels" in found["jacobian"].sentences[0]
    assert "weights before training" in found["criticality"].sentences[0]
    assert found["initialisation"].numbers[0].value.value > 0


def test_the_same_seed_gives_the_same_findings_and_another_another(vectors: Subject) -> None:
    first, again, other = (
        probe_subject(vectors, ["jacobian", "regions"], samples=5, seed=seed).to_dict()["probes"] for seed in (0, 0, 1)
    )
    for one, two in zip(first, again, strict=True):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}
    assert first[0]["sharpest"] != other[0]["sharpest"]


def test_the_model_is_left_as_found(vectors: Subject) -> None:
    model = vectors.model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    probe_subject(vectors, VECTORS, samples=5)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert torch.equal(state, torch.get_rng_state())


def test_a_network_that_bends_everywhere_has_its_deviation_measured_instead() -> None:
    found = probe_subject(_subject(_mlp(activation=nn.GELU), _examples(4)), ["regions", "slice", "bound"], samples=6)
    assert list(found["regions"].records) == ["deviation_by_quadrature"]
    assert "no linear pieces" in found["regions"].sentences[1]
    assert "gelu" in found["regions"].notes[0]
    reason = {probe.name: probe.reason for probe in found.left_out}["slice"]
    assert reason.startswith("the network is not piecewise linear")


def test_the_estimated_distance_is_exact_for_a_linear_model() -> None:
    """Between two classes of a linear model the nearest other prediction is |z1 - z0| / |w1 - w0| away."""
    model = nn.Linear(2, 2, bias=False)
    model.weight.data = torch.tensor([[-1.0, -2.0], [1.0, 2.0]])
    inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
    labels = torch.tensor([1, 1, 0])
    examples = Examples(inputs, labels, labels, ("no", "yes"), torch.arange(3))
    found = probe_subject(_subject(model, examples), ["jacobian", "bound"])
    truth = (inputs @ (model.weight[1] - model.weight[0])).abs() / (model.weight[1] - model.weight[0]).norm()
    values = {number.title: number.value.value for number in found["jacobian"].numbers}
    assert values["distance to another prediction, median"] == pytest.approx(truth.median().item(), rel=1e-6)
    assert values["distance, smallest"] == pytest.approx(truth.min().item(), rel=1e-6)
    bounded = {number.title: number.value.value for number in found["bound"].numbers}
    assert bounded["distance to another prediction, median"] == pytest.approx(truth.median().item(), rel=1e-4)


def test_a_single_output_is_the_log_odds_of_two_classes() -> None:
    assert margins(torch.tensor([[-2.0], [3.0]]).double()).tolist() == [2, 3]
    examples = replace(_examples(4), labels=_examples(4).labels % 2, true_labels=_examples(4).labels % 2)
    two = replace(examples, class_names=("even", "odd"))
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    found = probe_subject(_subject(model, two), VECTORS, samples=8)
    assert found.left_out == ()
    assert {sharp.prediction for sharp in found["jacobian"].sharpest} <= {"even", "odd"}


def test_a_probe_that_raises_does_not_lose_the_others(vectors: Subject) -> None:
    def fail(setting: Setting, batch: Batch, count: int) -> Measured:
        raise RuntimeError("no room.")

    broken = {**PROBES, "jacobian": replace(PROBES["jacobian"], measure=fail)}
    found = probe_subject(vectors, ["jacobian", "regions"], catalogue=broken, samples=3)
    assert [probe.name for probe in found.measured] == ["regions"]
    (lost,) = found.left_out
    assert lost.failed
    assert lost.reason == "RuntimeError: no room"
    assert "Left out: Sensitivity (RuntimeError: no room)." in probing_verdict(found)[-1]
    with pytest.raises(KeyError, match="found nothing: RuntimeError"):
        found["jacobian"]
    with pytest.raises(KeyError, match="was not asked for; measured: regions"):
        found["bound"]


def test_a_trial_on_few_samples_decides_how_many_follow(setting: Setting) -> None:
    clock = Clock()
    entry = _timed(clock, per_sample=1.0, samples=50, pilot=2)
    found, used = within(entry, setting, "test", 50, 40.0, clock)
    # 2 s for the trial; 0.8 of the 38 s that are left are 30 samples, after which no second step fits.
    assert (used, clock.now) == (30, 32.0)
    assert found.sentences == ("on 30 samples",)


def test_a_step_grows_at_most_sixteenfold_and_ends_at_what_is_wanted(setting: Setting) -> None:
    clock = Clock()
    entry = _timed(clock, per_sample=1e-3, samples=50, pilot=2)
    _, used = within(entry, setting, "test", 50, 40.0, clock)
    assert used == 50
    assert clock.now == pytest.approx((2 + 32 + 50) * 1e-3)


def test_a_trial_that_takes_all_the_time_is_the_result(setting: Setting) -> None:
    clock = Clock()
    _, used = within(_timed(clock, per_sample=30.0, pilot=2), setting, "test", 50, 40.0, clock)
    assert (used, clock.now) == (2, 60.0)


def test_without_a_limit_there_is_no_trial(setting: Setting) -> None:
    clock = Clock()
    _, used = within(_timed(clock, per_sample=1.0), setting, "test", 50, math.inf, clock)
    assert (used, clock.now) == (50, 50.0)


def test_few_samples_are_of_every_class_where_that_is_asked_for(setting: Setting) -> None:
    labels = setting.batch("test", 6, balanced=True).labels
    assert sorted(labels[:3].tolist()) == [0, 1, 2]
    assert sorted(labels[3:].tolist()) == [0, 1, 2]
    some, more = setting.batch("test", 5), setting.batch("test", 20)
    assert torch.equal(some.positions, more.positions[:5])  # fewer are the first of more
    clock = Clock()
    _, used = within(_timed(clock, per_sample=30.0, balanced=True), setting, "test", 50, 40.0, clock)
    assert used == 6  # two of each class


@pytest.mark.parametrize("per_sample", [0.01, 0.5, 3.0, 20.0])
@pytest.mark.parametrize("once", [0.0, 4.0])
def test_the_limit_is_overrun_by_one_trial_at_most(vectors: Subject, per_sample: float, once: float) -> None:
    clock = Clock()
    entry = _timed(clock, per_sample, once, samples=40, pilot=2)
    catalogue = {f"probe{k}": entry for k in range(8)}
    found = probe_subject(vectors, catalogue=catalogue, minutes=1.0, clock=clock)
    trial = once + 2 * per_sample
    assert clock.now <= 60 + trial
    assert found.seconds == clock.now
    late = [probe for probe in found.left_out if probe.reason == "the time was up"]
    assert len(found.measured) + len(late) == 8
    if late:
        assert clock.now >= 60
        assert found.probes[0].found is not None
    assert "within a limit of 1 minute" in probing_verdict(found)[-1]


def test_time_that_one_probe_leaves_goes_to_the_others(vectors: Subject) -> None:
    clock = Clock()
    cheap, dear = _timed(clock, 0.01, samples=40), _timed(clock, 1.0, samples=60, pilot=3)
    found = probe_subject(vectors, catalogue={"cheap": cheap, "dear": dear}, minutes=1.0, clock=clock)
    assert [probe.used for probe in found.probes] == [40, 45]  # not the 22 that half the time would give
    assert [probe.shortened for probe in found.probes] == [False, True]
    assert found.probes[1].basis == "45 of 60 test samples, 60 were wanted"


def test_probes_about_training_take_training_samples_where_they_are_known() -> None:
    parts = {"train": _examples(4, size=30, wrong=6), "test": _examples(4, seed=1)}
    subject = Subject("both", _mlp(), parts, ("zero", "one", "two"), {})
    found = probe_subject(subject, ["jacobian", "sharpness", "collapse"], samples=30)
    assert {probe.name: probe.split for probe in found.probes} == {
        "jacobian": "test", "sharpness": "train", "collapse": "train"
    }  # fmt: skip
    split = found["sharpness"].split
    assert split is not None
    assert split.difference is not None
    assert found["jacobian"].split is None
    assert found.notes == ()
    everywhere = probe_subject(subject, ["jacobian", "sharpness"], split="train", samples=5)
    assert {probe.split for probe in everywhere.probes} == {"train"}
    unknown = probe_subject(_subject(_mlp(), _examples(4)), ["sharpness", "inequality"], samples=4)
    assert "is not known here, so sharpness of the loss and inputs against weights are" in unknown.notes[0]


def test_what_a_class_or_a_layer_lacks_is_said_in_words() -> None:
    one_class = _examples(4).select((_examples(4).labels == 1).nonzero().squeeze(1))
    wide = nn.Linear(4, 300)
    names = tuple(map(str, range(300)))
    many = replace(_examples(4), class_names=names)
    reasons = [
        probe_subject(_subject(_mlp(), one_class), ["collapse"]).left_out[0].reason,
        probe_subject(_subject(wide, many), ["nuclear"]).left_out[0].reason,
        probe_subject(_subject(_mlp(), _examples(4, size=2)), ["slice"]).left_out[0].reason,
        probe_subject(_subject(nn.MultiheadAttention(4, 1), _examples(4)), ["bound"]).left_out[0].reason,
    ]
    wanted = ["2 of 3 classes have none here", "each of 300 outputs", "needs three samples, and there are 2", "forward"]
    assert all(words in reason for words, reason in zip(wanted, reasons, strict=True)), reasons


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"what": ["regons"]}, "unknown probe 'regons'; did you mean 'regions'"),
        ({"split": "train"}, "mine has no samples called 'train'; it has test"),
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
        ({"minutes": 0.0}, "minutes must be above 0 and finite, got 0.0"),
        ({"minutes": math.inf}, "minutes must be above 0 and finite, got inf"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_options_out_of_range_are_refused(vectors: Subject, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        probe_subject(vectors, **options)


def test_one_name_in_place_of_a_list_is_refused(vectors: Subject) -> None:
    with pytest.raises(TypeError, match=r"pass \['regions'\]"):
        probe_subject(vectors, "regions")


def test_progress_counts_probes(vectors: Subject) -> None:
    seen: list[tuple[int, int]] = []
    probe_subject(vectors, ["jacobian", "bound"], samples=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize("count", [1, 5, 6, 9, 40])
def test_the_interval_of_a_median_holds_it_as_often_as_it_says(count: int) -> None:
    """The k-th smallest of N is below the median with a chance that depends on N and k alone."""
    found = median_of(torch.arange(1.0, count + 1))
    if count < 6:  # even the extremes enclose the median too seldom
        assert (found.low, found.high) == (-math.inf, math.inf)
        return
    below = int(found.low) - 1  # values under the lower end
    missed = 2 * sum(math.comb(count, k) for k in range(below + 1)) / 2**count
    assert missed <= 0.05 < missed + 2 * math.comb(count, below + 1) / 2**count
    assert found.low + found.high == count + 1


def test_numbers_of_any_size_have_three_digits() -> None:
    values = [0.0, 1.0, -0.5, 0.00012345, 12345.6, 1e6, -2.5e-7, math.nan, math.inf, 999.96]
    texts = ["0", "1.00", "−0.500", "0.000123", "12,346", "1.00 × 10⁶", "−2.50 × 10⁻⁷", "–", "–", "1,000"]
    assert [number_text(value) for value in values] == texts
