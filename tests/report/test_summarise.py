"""What a report says about runs is what their folders hold."""

from typing import Any

import torch

from trueline.report import BeliefCounts, summarise
from trueline.report._summarise import count_beliefs
from trueline.train import RunFolder


def test_objectives_name_the_runs_if_they_differ(write_run: Any) -> None:
    folders = [RunFolder(write_run(name, objective=name)) for name in ("cross_entropy", "dps")]
    labels = [run.label for run in summarise(folders).runs]
    assert labels == ["cross-entropy", "DPS"]


def test_runs_of_one_objective_go_by_their_names(write_run: Any) -> None:
    folders = [RunFolder(write_run(name)) for name in ("first", "second")]
    assert [run.label for run in summarise(folders).runs] == ["first", "second"]


def test_runs_are_compared_only_on_the_same_test_samples(write_run: Any) -> None:
    a, b, c = (RunFolder(write_run(n, seed=s)) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    assert len(summarise([a, b]).comparisons) == 1
    assert summarise([a, c]).comparisons == ()


def test_the_numbers_count_the_folder(write_run: Any) -> None:
    folder = RunFolder(write_run("run"))
    (run,) = summarise([folder]).runs
    train, beliefs = folder.predictions("train"), folder.beliefs()
    assert train is not None
    assert beliefs is not None
    wrong = train.labels != train.true_labels
    assert run.wrong_labels == int(wrong.sum())
    assert run.beliefs is not None
    assert run.beliefs.corrected == int((wrong & (beliefs.beliefs.argmax(1) == train.true_labels)).sum())
    assert run.temperature is not None
    assert run.temperature.samples == 180
    assert run.temperature.wrong_labels == 0


def test_the_random_state_is_left_alone(write_run: Any) -> None:
    folder = RunFolder(write_run("run"))
    before = torch.get_rng_state()
    summarise([folder])
    assert torch.get_rng_state().equal(before)


def test_belief_counts_split_each_kind_of_label() -> None:
    given = torch.tensor([0, 0, 0, 1, 1])
    true = torch.tensor([1, 1, 1, 1, 1])
    believed = torch.tensor([1, 2, 0, 1, 2])  # corrected, astray, kept, right kept, right left
    counts = count_beliefs(torch.eye(3)[believed], given, true)
    assert counts == BeliefCounts(3, 2, corrected=1, moved_astray=1, kept_wrong=1, left_right=1)
    assert counts.corrected + counts.moved_astray + counts.kept_wrong == counts.wrong_labels
