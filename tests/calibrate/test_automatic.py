"""The automatic choice: it finds the map that made the labels, keeps simple ones, and says what it left out."""

import pytest
import torch

import trueline
from trueline.calibrate import (
    AutomaticCalibration,
    EnsembleTemperatureScaling,
    Identity,
    StructuredVectorScaling,
    TemperatureScaling,
    VectorScaling,
)
from trueline.calibrate._cross_validation import deal, held_out_scores
from trueline.contracts import check_calibrator

PAIR = (Identity(), TemperatureScaling())


def _draw(
    seed: int, samples: int, slope: float = 1.0, intercept: float = 0.0, classes: int = 3
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    honest = slope * logits + torch.linspace(-intercept, intercept, classes)
    return torch.multinomial(honest.softmax(dim=1), 1, generator=generator).squeeze(1), logits


def test_it_keeps_the_contract() -> None:
    check_calibrator(lambda: AutomaticCalibration((*PAIR, StructuredVectorScaling()), folds=2))


def test_labels_choose_the_map_that_made_them() -> None:
    for (slope, intercept), name in {
        (1.0, 0.0): "Identity",
        (0.4, 0.0): "TemperatureScaling",
        (0.4, 1.0): "StructuredVectorScaling(strength=1.0)",
    }.items():
        labels, logits = _draw(2, 600, slope, intercept)
        automatic = AutomaticCalibration().fit(labels, logits=logits)
        chosen = [row["name"] for row in automatic.choice_ if row["chosen"]]
        assert chosen == [name]
        assert repr(automatic.calibrator_).removesuffix("()") == name


def test_calibrated_predictions_are_mostly_left_alone() -> None:
    kept = [
        isinstance(AutomaticCalibration().fit(*_draw(s, 200)[:1], logits=_draw(s, 200)[1]).calibrator_, Identity)
        for s in range(6)
    ]
    assert sum(kept) >= 4


def test_the_table_is_the_rule() -> None:
    labels, logits = _draw(2, 300, 0.5)
    automatic = AutomaticCalibration().fit(labels, logits=logits)
    table = [row for row in automatic.choice_ if row["left_out"] is None]
    best = min(table, key=lambda row: row["log_loss"])
    for row in table:
        assert row["difference"] == pytest.approx(row["log_loss"] - best["log_loss"], abs=1e-15)
    near = [row for row in table if row["difference"] <= row["standard_error"]]
    assert [row["chosen"] for row in table].count(True) == 1
    assert min(near, key=lambda row: row["parameters"])["chosen"]


def test_scores_are_of_samples_that_were_not_fitted_to() -> None:
    # By hand: one fit for each fold, and the paired standard error.
    labels, logits = _draw(3, 60, 0.5)
    folds = deal(logits.log_softmax(1), labels, None, 5)
    assert folds is not None
    losses = []
    for kind in PAIR:
        loss = torch.zeros(60, dtype=torch.float64)
        for held_out in folds.weight.bool():
            fitted = kind.unfitted().fit(labels[~held_out], logits=logits[~held_out])
            mapped = fitted.transform(logits=logits[held_out])
            loss[held_out] = -mapped.gather(1, labels[held_out, None]).squeeze(1)
        losses.append(loss)
    first, second = AutomaticCalibration(PAIR).fit(labels, logits=logits).choice_
    assert [first["log_loss"], second["log_loss"]] == pytest.approx([loss.mean().item() for loss in losses])
    worse = first if first["difference"] > 0 else second
    assert worse["standard_error"] == pytest.approx((losses[0] - losses[1]).std().item() / 60**0.5)


def test_a_wide_margin_chooses_the_simplest_and_none_the_best() -> None:
    labels, logits = _draw(4, 200, 0.7)
    assert AutomaticCalibration(margin=1e6).fit(labels, logits=logits).calibrator_.n_parameters(3) == 0
    table = AutomaticCalibration(margin=0.0).fit(labels, logits=logits)
    assert min((r for r in table.choice_ if r["log_loss"] is not None), key=lambda row: row["log_loss"])["chosen"]


def test_maps_with_too_few_samples_are_left_out_and_named() -> None:
    labels, logits = _draw(5, 45)
    candidates = (*PAIR, EnsembleTemperatureScaling(), VectorScaling(), StructuredVectorScaling())
    reasons = [row["left_out"] for row in AutomaticCalibration(candidates).fit(labels, logits=logits).choice_]
    assert reasons[:3] == [None, None, None]
    assert reasons[3] == "45 samples, fewer than 10 for each of 6 numbers"
    assert reasons[4] == "45 samples, fewer than 50 for each of 3 classes"


def test_one_sample_and_no_candidate() -> None:
    one = AutomaticCalibration().fit(torch.tensor([0]), logits=torch.eye(2)[:1])
    assert isinstance(one.calibrator_, Identity)
    assert one.folds_ == 0
    assert "Identity was kept: too few samples" in str(one.choice())
    with pytest.raises(ValueError, match="too few samples for any candidate: 1 sample, fewer than 10"):
        AutomaticCalibration((TemperatureScaling(),)).fit(torch.tensor([0]), logits=torch.eye(2)[:1])


def test_two_classes_have_their_own_candidates() -> None:
    labels, logits = _draw(6, 200, 0.5, classes=2)
    names = [row["name"] for row in AutomaticCalibration(folds=2).fit(labels, logits=logits).choice_]
    assert {"PlattScaling(smoothing=True)", "BetaCalibration", "QuadraticScaling"} < set(names)


def test_files_keep_the_choice(tmp_path) -> None:
    labels, logits = _draw(7, 100, 0.5)
    automatic = AutomaticCalibration(folds=3).fit(labels, logits=logits)
    read = trueline.load(automatic.save(tmp_path / "automatic.safetensors"))
    assert read.choice_ == automatic.choice_
    assert str(read.choice()) == str(automatic.choice())


def test_the_record_says_and_draws_the_choice() -> None:
    labels, logits = _draw(8, 120, 0.4)
    choice = AutomaticCalibration().fit(labels, logits=logits).choice()
    text = str(choice)
    assert "TemperatureScaling was chosen" in text
    assert "StructuredVectorScaling(strength=1.0): left out (120 samples, fewer than 50" in text
    assert choice.to_dict()["log_loss"][3] is None
    assert choice.to_dict()["names"][choice.chosen] == "TemperatureScaling"
    drawn = choice.plot().to_dict()
    assert [row["name"] for row in drawn["data"]["values"]] == [
        name for name, reason in zip(choice.names, choice.left_out, strict=True) if reason is None
    ]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"candidates": ()}, ValueError),
        ({"candidates": (TemperatureScaling,)}, TypeError),
        ({"folds": 1}, ValueError),
        ({"margin": -1.0}, ValueError),
        ({"margin": float("nan")}, ValueError),
    ],
)
def test_impossible_options_are_refused(options: dict, error: type[Exception]) -> None:
    with pytest.raises(error):
        AutomaticCalibration(**options)


def test_folds_partition_the_samples_and_weights_repeat_them() -> None:
    labels, logits = _draw(9, 30)
    log_probs = logits.log_softmax(1)
    times = torch.arange(30) % 3
    plain = deal(log_probs, labels, None, 4)
    weighted = deal(log_probs, labels, times.double(), 4)
    repeated = deal(log_probs.repeat_interleave(times, 0), labels.repeat_interleave(times), None, 4)
    shares = deal(log_probs, labels, times * 0.7, 4)
    assert plain is not None
    assert weighted is not None
    assert repeated is not None
    assert shares is not None
    assert torch.equal(plain.weight.sum(0), torch.ones(30, dtype=torch.float64))
    assert plain.weight.sum(1).tolist() == [8, 8, 7, 7]
    assert torch.equal(weighted.weight.sum(0), times.double())
    merged = torch.zeros_like(weighted.weight).index_add(1, torch.arange(30).repeat_interleave(times), repeated.weight)
    assert torch.equal(merged, weighted.weight)
    assert ((shares.weight > 0).sum(0) == (times > 0)).all()  # whole samples, each once
    assert weighted.standard_error(weighted.weight) > 0
    scores = [held_out_scores(TemperatureScaling(), log_probs, labels, f)[0] for f in (plain, plain)]
    assert torch.equal(*scores)


def test_folds_do_not_hide_chance() -> None:
    """With equal shares of each class in every fold an intercept would look better than it is on new samples."""
    costs = []
    for samples in range(40, 80, 3):  # every number of samples is dealt in another way
        labels, _ = _draw(samples, samples, 0.0)
        log_probs = torch.zeros(samples, 3, dtype=torch.float64).log_softmax(1)
        folds = deal(log_probs, labels, None, 2)
        assert folds is not None
        kept, fitted = (
            folds.mean(held_out_scores(kind, log_probs, labels, folds)[0]) for kind in (Identity(), VectorScaling())
        )
        costs.append((fitted - kept) * samples / 2)
    # Two log-odds fitted to m samples cost 2/(2m) on new ones, here m is half of all.
    assert torch.tensor(costs).mean().item() == pytest.approx(1, abs=0.5)
