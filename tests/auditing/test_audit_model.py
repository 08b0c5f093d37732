"""The audit of a model that can be run: the audit of its predictions, and its geometry within what time is left."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trueline.auditing import audit, audit_model
from trueline.data import Examples
from trueline.explaining import EXPLANATIONS
from trueline.probing import PROBES, ProbingFindings, probe_subject
from trueline.subjects import Subject, subject_of_model

NAMES = ("zero", "one", "two")


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    few = ("jacobian", "regions", "arrangement")
    monkeypatch.setattr("trueline.auditing._audit_model.PROBES", {name: PROBES[name] for name in few})
    some = ("maps", "spectra", "counterfactuals")
    monkeypatch.setattr("trueline.auditing._audit_model.EXPLANATIONS", {name: EXPLANATIONS[name] for name in some})


def _subject(outputs: int = 3, *shape: int) -> Subject:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(60, *(shape or (4,)), generator=generator)
    labels = (3 * inputs.flatten(1)[:, 0]).long() % max(outputs, 2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(inputs[0].numel(), 8), nn.ReLU(), nn.Linear(8, outputs))
    names = NAMES[: max(outputs, 2)]
    examples = Examples(inputs, labels, labels, names, torch.arange(60))
    return subject_of_model(model, examples, name="mine", halves=False)


@pytest.mark.parametrize("outputs", [3, 1])
def test_the_predictions_are_audited_as_if_they_had_been_saved(outputs: int) -> None:
    subject = _subject(outputs)
    examples = subject.parts["test"]
    with torch.no_grad():
        logits = subject.model(examples.inputs)
    saved = audit(examples.labels, logits={"mine": logits.squeeze(1)}, class_names=examples.class_names)
    found = audit_model(subject)
    for name, score in saved.models[0].evaluation.scores.items():
        assert found.models[0].evaluation.scores[name].value == pytest.approx(score.value, abs=1e-6)
    assert found.verdict[0].partition(".")[0] == saved.verdict[0].partition(".")[0]
    assert found.models[0].source == "logits of mine on 60 samples, made now"


def test_geometry_is_part_of_the_numbers_the_words_and_the_page(tmp_path: Path) -> None:
    found = audit_model(_subject(), title="Both", name="net")
    assert found.geometry is not None
    assert [probe.name for probe in found.geometry.measured] == ["jacobian", "regions"]
    assert found.to_dict()["geometry"]["probes"][2]["reason"].startswith("the model has no convolution")
    assert "Linear pieces: " in str(found)
    page = found.write_html(tmp_path / "audit.html").read_text()
    assert 'id="probe-regions"' in page
    assert "the model has no convolution" in page
    assert "Are All Linear Regions Created Equal?" in page  # of the probes
    assert "Temperature" in page


def test_explanations_are_part_of_the_numbers_the_words_and_the_page(tmp_path: Path) -> None:
    found = audit_model(_subject(), title="Both", name="net")
    assert found.explanations is not None
    assert [probe.name for probe in found.explanations.measured] == ["maps", "counterfactuals"]
    assert found.to_dict()["explanations"]["probes"][1]["reason"].startswith("it needs pictures")
    assert "Counterfactuals: " in str(found)
    page = found.write_html(tmp_path / "audit.html").read_text()
    assert 'id="probe-counterfactuals"' in page
    assert page.count('id="left-out"') == page.count('id="left-out-explanations"') == 1
    assert "A Geometric View of Counterfactual Behavior" in page
    assert "What explains it" in found._repr_mimebundle_()["text/html"]


def test_what_is_named_is_all_that_is_run() -> None:
    seen: list[tuple[int, int]] = []
    found = audit_model(_subject(), what=["maps"], progress=lambda done, total: seen.append((done, total)))
    assert found.geometry is None
    assert found.explanations is not None
    assert [probe.name for probe in found.explanations.probes] == ["maps"]
    assert seen == [(0, 1), (1, 1)]
    with pytest.raises(ValueError, match="unknown probe 'mops'; did you mean 'maps'"):
        audit_model(_subject(), what=["mops"])


def test_half_of_the_time_is_for_explanations_and_all_that_is_left_for_geometry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[float] = []

    def probed(*arguments: Any, **options: Any) -> ProbingFindings:
        given.append(options["minutes"])
        return probe_subject(*arguments, **options)

    monkeypatch.setattr("trueline.auditing._audit_model.probe_subject", probed)
    found = audit_model(_subject(), minutes=8.0, clock=lambda: 0.0)
    assert given == [4.0, 8.0]  # no time passes on this clock
    assert found.geometry is not None
    assert found.geometry.minutes == 8.0
    given.clear()
    audit_model(_subject(), what=["maps"], minutes=8.0, clock=lambda: 0.0)
    assert given == [8.0]


def test_a_notebook_shows_the_geometry_too() -> None:
    found = audit_model(_subject(), name="net")
    shown = found._repr_mimebundle_()
    assert "Linear pieces: " in shown["text/plain"]
    assert "The geometry behind it" in shown["text/html"]
    assert found.geometry is not None
    for probed in found.geometry.measured:
        assert probed.found is not None
        assert all(f"{probed.title}: {number.title}" in shown["text/html"] for number in probed.found.numbers)


def test_an_audit_of_predictions_alone_has_no_geometry(tmp_path: Path) -> None:
    subject = _subject()
    found = audit(subject.parts["test"].labels, logits=subject.parts["test"].inputs[:, :3])
    assert found.geometry is found.explanations is None
    assert not {"geometry", "explanations"} & set(found.to_dict())
    assert "The geometry behind it" not in found._repr_mimebundle_()["text/html"]
    assert 'id="geometry"' not in found.write_html(tmp_path / "audit.html").read_text()


def test_pictures_of_mistakes_are_shown_where_inputs_are_pictures() -> None:
    found = audit_model(_subject(3, 1, 4, 4))
    assert all(mistake.picture for mistake in found.models[0].mistakes)
    assert not any(mistake.picture for mistake in audit_model(_subject()).models[0].mistakes)


def test_time_spent_on_predictions_is_lost_to_the_probes() -> None:
    ticks = iter([0.0, 120.0, *[120.0] * 50])
    found = audit_model(_subject(), minutes=2.0, clock=lambda: next(ticks))
    assert found.geometry is not None
    assert found.geometry.minutes == 2.0
    assert found.models[0].evaluation.samples == 60


def test_the_model_is_left_as_found_also_where_it_fails() -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ArithmeticError("this model fails")

    good, subject = Failing().train(), _subject()
    failing = Subject("bad", good, subject.parts, NAMES, {})
    with pytest.raises(ArithmeticError):
        audit_model(failing)
    assert good.training
    assert all(weight.requires_grad for weight in good.parameters())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"minutes": 0.0}, "minutes must be above 0, got 0.0"),
        ({"split": "train"}, "mine has no samples called 'train'; it has test"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        audit_model(_subject(), **options)  # type: ignore[arg-type]


def test_outputs_that_are_no_logits_are_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (1, 3)))
    with pytest.raises(ValueError, match=r"must return logits \(N, C\)"):
        audit_model(Subject("odd", model, _subject().parts, NAMES, {}))
