"""The sections on runs and on models of one's own: what they find, what they need, what they leave out."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from trueline.data import Examples
from trueline.explain import attribute, expected_frequency
from trueline.explaining import EXPLANATIONS, PAGE
from trueline.probing import ProbingFindings, probe_subject, write_page
from trueline.steer import steer
from trueline.subjects import Subject, subject_of_model, subject_of_run
from trueline.train import RunConfig, train

NAMES = ("zero", "one", "two")


def _table(outputs: int = 3, size: int = 60) -> Subject:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(size, 4, generator=generator)
    labels = torch.arange(size) % max(outputs, 2)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs))
    examples = Examples(inputs, labels, labels, NAMES[: max(outputs, 2)], torch.arange(size))
    return subject_of_model(model, examples, name="table", halves=False)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    config = {
        "name": "small",
        "data": {"name": "digits", "train_size": 300},
        "model": {"name": "convnet", "width": 4},
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "adamw", "learning_rate": 0.01},
        "training": {"epochs": 2, "batch_size": 50, "device": "cpu"},
    }
    run = train(RunConfig.model_validate(config), tmp_path_factory.mktemp("runs") / "small", progress=False)
    return subject_of_run(run)


@pytest.fixture(scope="module")
def found(pictures: Subject) -> ProbingFindings:
    return probe_subject(pictures, catalogue=EXPLANATIONS, samples=12)


def test_of_a_run_with_pictures_every_section_finds_something(found: ProbingFindings) -> None:
    assert [probe.name for probe in found.measured] == list(EXPLANATIONS)
    assert found.left_out == ()
    for probe in found.measured:
        assert probe.found is not None
        assert probe.found.sentences
        assert probe.references
        assert all(math.isfinite(number.value.value) for number in probe.found.numbers), probe.name


def test_maps_lie_beside_the_sample_and_steering_shows_beside_them(found: ProbingFindings) -> None:
    exhibits = found["maps"].exhibits
    assert len(exhibits) == 4
    methods = ["the sample", "gradient", "integrated gradients", "SmoothGrad", "Grad-CAM", "gradient, steered"]
    for exhibit in exhibits:
        assert list(exhibit.pictures) == methods
        assert all(picture.shape[1:] == (8, 8) for picture in exhibit.pictures.values())


def test_the_spectrum_is_that_of_the_models_own_maps(pictures: Subject, found: ProbingFindings) -> None:
    from trueline.explain import Gradient
    from trueline.probing import Setting

    setting = Setting(pictures, seed=0, chunk_size=64, initial=None)
    batch = setting.batch("test", 12)
    maps = attribute(pictures.model, batch.inputs, explainer=Gradient(of="log_probability")).maps
    numbers = {number.title: number.value.value for number in found["spectra"].numbers}
    assert numbers["expected frequency of the gradient, × 10⁵"] == pytest.approx(
        1e5 * expected_frequency(maps).mean.value
    )


def test_a_counterfactual_is_shown_by_a_real_sample_of_the_class_that_was_asked_for(
    pictures: Subject, found: ProbingFindings
) -> None:
    record = found["counterfactuals"].records["find_counterfactuals"]
    for exhibit in found["counterfactuals"].exhibits:
        assert set(exhibit.pictures) == {"the sample", "the nearest real sample"}
        assert exhibit.facts["predicted"] != exhibit.facts["asked for"]
        assert exhibit.facts["nearest real sample"].startswith("validation ")
    assert len(record.to_dict()["distance"]) == 12


def test_training_samples_for_and_against_are_shown(found: ProbingFindings) -> None:
    for exhibit in found["representers"].exhibits:
        captions = list(exhibit.pictures)
        assert captions[0].startswith("the sample, labelled")
        assert [caption.split(":")[0] for caption in captions[1:]] == ["for"] * 3 + ["against"] * 3


def test_a_table_is_explained_in_words_and_says_what_it_cannot_have() -> None:
    found = probe_subject(_table(), catalogue=EXPLANATIONS)
    reasons = {probe.name: probe.reason for probe in found.left_out}
    assert set(reasons) == {"spectra", "representers"}
    assert reasons["spectra"].startswith("it needs pictures of 4x4 pixels or more, and the inputs are 4")
    assert reasons["representers"] == "what the model was trained on is not known here"
    exhibit = found["maps"].exhibits[0]
    assert exhibit.pictures == {}
    assert "entry" in exhibit.facts["gradient"]


def test_without_other_samples_each_one_is_left_out_of_its_own_support() -> None:
    subject = _table()
    found = probe_subject(subject, ["counterfactuals"], catalogue=EXPLANATIONS)
    record = found["counterfactuals"].records["find_counterfactuals"].to_dict()
    note = re.search(r"60 test samples, with (\d+) neighbours", found["counterfactuals"].notes[0])
    assert note is not None
    examples = subject.parts["test"]
    features = subject.model[:2](examples.inputs).detach().double()  # type: ignore[index]
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    own = 0
    for place, row in enumerate(order.tolist()):
        target = record["target"][place]
        rest = [i for i in range(60) if i != row and examples.labels[i] == target]
        own += int(examples.labels[row] == target)
        near = (features[rest] - features[row]).norm(dim=1).sort().values
        assert record["start_radius"][place] == pytest.approx(near[int(note[1]) - 1].item(), rel=1e-5)
    assert own > 0  # some are of the class that they are asked to reach, and would be their own neighbours


def test_shares_have_intervals_of_what_is_possible(found: ProbingFindings) -> None:
    seen = 0
    for probe in found.measured:
        assert probe.found is not None
        for number in probe.found.numbers:
            if number.unit == "%":
                seen += 1
                assert 0 <= number.value.low <= number.value.value <= number.value.high <= 100, number.title
    assert seen > 8


def test_an_interval_of_shares_is_cut_where_nothing_is_possible() -> None:
    from trueline.explaining._ground import percent

    low, high = percent(torch.tensor([0.0, 0.0, 0.1, math.nan])), percent(torch.tensor([1.0, 1.0, 0.9]))
    assert low.low == 0
    assert high.high == 100
    assert (low.value, high.value) == (pytest.approx(10 / 3), pytest.approx(290 / 3))


def test_stability_says_how_many_predictions_steering_keeps() -> None:
    subject = _table()
    inputs = subject.parts["test"].inputs
    with torch.no_grad():
        twin = steer(subject.model, 0.9, example=inputs[:2])
        same = 100 * (twin(inputs).argmax(dim=1) == subject.model(inputs).argmax(dim=1)).double().mean().item()
    sentences = probe_subject(subject, ["stability"], catalogue=EXPLANATIONS)["stability"].sentences
    assert f"which keeps {same:.3g} % of these predictions" in sentences[-1]


def test_two_classes_in_one_number_are_explained_too() -> None:
    found = probe_subject(_table(outputs=1), catalogue=EXPLANATIONS)
    assert {probe.name for probe in found.measured} == {"maps", "stability", "faithfulness", "counterfactuals"}
    assert all(not probe.failed for probe in found.probes)


def test_a_model_without_a_last_linear_layer_or_units_to_steer_says_so() -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(x) @ self.weight

    parts = _table().parts
    found = probe_subject(Subject("product", Product(), parts, NAMES, {}), catalogue=EXPLANATIONS)
    reasons = {probe.name: probe.reason for probe in found.left_out}
    assert "no linear layer returns the output" in reasons["counterfactuals"]
    assert "Nothing in the model can be steered" in found["maps"].notes[0]
    assert any("Nothing in the model can be steered" in note for note in found["stability"].notes)


def test_the_model_is_left_as_found(pictures: Subject) -> None:
    before = {name: value.clone() for name, value in pictures.model.state_dict().items()}
    modes = [module.training for module in pictures.model.modules()]
    state = torch.get_rng_state()
    probe_subject(pictures, catalogue=EXPLANATIONS, samples=4)
    assert all(torch.equal(value, before[name]) for name, value in pictures.model.state_dict().items())
    assert [module.training for module in pictures.model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


def test_the_page_and_the_record_hold_all_of_it(found: ProbingFindings, tmp_path: Path) -> None:
    page = write_page(found, tmp_path / "explain.html", **PAGE).read_text()
    assert "Explanations of small" in page
    assert page.count('alt="sample ') >= 4 * 6 + 4 * 2 + 4 * 7
    assert "An explanation is a claim about the model" in page
    for probe in found.measured:
        assert f'id="probe-{probe.name}"' in page
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert record["probes"][0]["exhibits"][0]["facts"]["label"] in {str(digit) for digit in range(10)}
