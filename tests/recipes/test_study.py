"""Studies: seeds measured by a function, kept one by one, and judged like training runs."""

import json
from functools import partial
from pathlib import Path

import pytest

from trueline.recipes import Claim, Study, reproduce

CLAIM = Claim("a against b", "accuracy", "a", "b", "higher")


def _measure(folder: Path, seed: int) -> dict[str, dict[str, float]]:
    """Each call leaves a mark, so that a second measurement of a seed would be seen."""
    with (folder / f"asked{seed}").open("a") as file:
        file.write("x")
    return {"a": {"accuracy": 0.9 + 0.001 * seed}, "b": {"accuracy": 0.8 - 0.001 * seed, "extra": float(seed)}}


def _study(folder: Path, **changes: object) -> Study:
    options = {
        "name": "tiny",
        "summary": "numbers",
        "references": (),
        "variants": ("a", "b"),
        "measure": partial(_measure, folder),
        "claims": (CLAIM,),
        "seeds": 3,
    }
    return Study(**(options | changes))  # type: ignore[arg-type]


def _times_asked(folder: Path) -> list[int]:
    return [len(path.read_text()) for path in sorted(folder.glob("asked*"))]


def test_a_study_is_judged_by_its_seeds(tmp_path: Path) -> None:
    lines: list[str] = []
    result = reproduce(_study(tmp_path), tmp_path / "out", progress=lines.append)
    assert lines == [f"tiny: seed {seed} of 3" for seed in (1, 2, 3)]
    assert result.scores == {
        "a": {"accuracy": pytest.approx([0.9, 0.901, 0.902])},
        "b": {"accuracy": pytest.approx([0.8, 0.799, 0.798]), "extra": [0.0, 1.0, 2.0]},
    }
    (judgement,) = result.judgements
    assert judgement.verdict == "holds"
    assert judgement.difference == pytest.approx(0.102)
    assert json.loads((tmp_path / "out" / "results.json").read_text())["scores"] == result.scores


def test_a_killed_study_goes_on_where_it_was(tmp_path: Path) -> None:
    def killed(seed: int) -> dict[str, dict[str, float]]:
        if seed == 2:
            raise KeyboardInterrupt
        return _measure(tmp_path, seed)

    with pytest.raises(KeyboardInterrupt):
        reproduce(_study(tmp_path, measure=killed), tmp_path / "out")
    assert _times_asked(tmp_path) == [1, 1]
    result = reproduce(_study(tmp_path), tmp_path / "out")
    assert _times_asked(tmp_path) == [1, 1, 1]
    assert result.seeds == [0, 1, 2]
    assert reproduce(_study(tmp_path), tmp_path / "out", seeds=2).scores["b"]["extra"] == [0.0, 1.0]
    assert _times_asked(tmp_path) == [1, 1, 1]


def test_several_jobs_give_the_same_scores_in_the_same_order(tmp_path: Path) -> None:
    alone, together = (reproduce(_study(tmp_path), tmp_path / str(jobs), jobs=jobs).scores for jobs in (1, 2))
    assert alone == together


def test_a_study_has_nothing_to_override(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tiny is a study.*got training\.epochs=1"):
        reproduce(_study(tmp_path), tmp_path, overrides=("training.epochs=1",))


def test_one_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 2 seeds"):
        reproduce(_study(tmp_path), tmp_path, seeds=1)
    assert not list(tmp_path.iterdir())


def test_a_mistyped_variant_is_found_before_anything_is_measured(tmp_path: Path) -> None:
    claim = Claim("a against c", "accuracy", "a", "bb", "higher")
    with pytest.raises(ValueError, match="did you mean 'b'"):
        reproduce(_study(tmp_path, claims=(claim,)), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": ("a", "b", "c")}, "has the variants a, b, c, but .*seed0.json holds a, b"),
        ({"claims": (Claim("", "brier", "a", "b", "lower"),)}, "names brier of a, which .*seed0.json lacks"),
    ],
)
def test_what_was_not_measured_is_named(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        reproduce(_study(tmp_path, **changes), tmp_path / "out")


def test_another_studys_folder_is_refused(tmp_path: Path) -> None:
    reproduce(_study(tmp_path), tmp_path / "out")
    with pytest.raises(ValueError, match="belongs to tiny, not to other"):
        reproduce(_study(tmp_path, name="other"), tmp_path / "out")
