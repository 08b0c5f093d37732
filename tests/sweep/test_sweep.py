"""Grids: which runs they hold, what these are called, and what is refused before anything runs."""

from pathlib import Path
from typing import Any

import pytest

from trueline.sweep import Sweep
from trueline.train import RunConfig, dump_config

from .conftest import GRID


@pytest.fixture
def write(tmp_path: Path):
    def put(grid: str, base: str = GRID) -> Path:
        path = tmp_path / "grid.toml"
        path.write_text(base + grid)
        return path

    return put


def test_the_grid_is_the_product_and_the_last_axis_is_fastest(base: RunConfig) -> None:
    sweep = Sweep(base, ({"seed": [0, 1]}, {"model.hidden": [[4], [8, 8]], "optimizer.learning_rate": [0.1, 0.2]}))
    cells = sweep.cells()
    assert [tuple(cell.values.values()) for cell in cells] == [
        (0, [4], 0.1), (0, [8, 8], 0.2), (1, [4], 0.1), (1, [8, 8], 0.2),
    ]  # fmt: skip
    assert cells[1].name == "seed=0,model.hidden=8x8,optimizer.learning_rate=0.2"
    assert cells[1].config.model.options == {"hidden": (8, 8)}
    assert cells[1].config.optimizer.learning_rate == 0.2
    assert cells[1].config.name == f"small/{cells[1].name}"


def test_a_run_that_varies_nothing_else_is_the_base(base: RunConfig) -> None:
    (cell,) = Sweep(base, ({"seed": [base.seed]},)).cells()
    assert cell.config.model_copy(update={"name": base.name}) == base


def test_a_file_says_the_same_as_python(write, base: RunConfig) -> None:
    path = write(
        '[grid]\n"model.hidden" = [[4], [8]]\nseed = [0, 1]\n'
        '[[grid.together]]\n"data.noise.rate" = [0.0, 0.5]\noptimizer.learning_rate = [0.1, 0.2]\n'
    )
    axes = (
        {"model.hidden": [[4], [8]]},
        {"seed": [0, 1]},
        {"data.noise.rate": [0.0, 0.5], "optimizer.learning_rate": [0.1, 0.2]},
    )
    assert Sweep.from_file(path) == Sweep(base, axes)


def test_quotes_around_a_dotted_key_make_no_difference(write) -> None:
    assert Sweep.from_file(write("[grid]\ndata.noise.rate = [0.1]\n")) == Sweep.from_file(
        write('[grid]\n"data.noise.rate" = [0.1]\n')
    )


def test_a_base_in_a_file_of_its_own_lies_beside_the_grid(write, base: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(dump_config(base))
    assert Sweep.from_file(write("[grid]\nseed = [1]\n", base='base = "run.toml"\n')).base == base


def test_overrides_change_the_base(write) -> None:
    sweep = Sweep.from_file(write("[grid]\nseed = [1]\n"), ["training.epochs=7", "objective.name=dps"])
    assert [cell.config.training.epochs for cell in sweep.cells()] == [7]
    with pytest.raises(ValueError, match=r"'seed=4' sets what .*grid.toml varies"):
        Sweep.from_file(write("[grid]\nseed = [1]\n"), ["seed=4"])


@pytest.mark.parametrize(
    "axes",
    [
        ({"seed": [0, 1]}, {"data.noise": [None, {"kind": "symmetric", "rate": 0.1}]}),
        ({"seed": [0], "model.hidden": [[4]]}, {"optimizer.learning_rate": [0.1]}),
    ],
)
def test_what_is_dumped_reads_back_with_the_same_names(
    base: RunConfig, axes: tuple[dict[str, Any], ...], tmp_path: Path
) -> None:
    sweep = Sweep(base, axes)
    (tmp_path / "sweep.toml").write_text(sweep.dump())
    assert Sweep.from_file(tmp_path / "sweep.toml").cells() == sweep.cells()


def test_none_unsets_a_key_and_a_table_is_a_value(write) -> None:
    path = write('[grid]\n"data.noise" = ["none", { kind = "symmetric", rate = 0.1 }]\n')
    without, noisy = Sweep.from_file(path).cells()
    assert without.config.data.noise is None
    assert (without.name, without.values) == ("data.noise=none", {"data.noise": None})
    assert noisy.config.data.noise is not None
    assert noisy.config.data.noise.rate == 0.1


def test_another_component_comes_before_its_options_and_drops_the_old_ones(base: RunConfig) -> None:
    (cell,) = Sweep(base, ({"model.width": [4], "model.name": ["convnet"]},)).cells()
    assert cell.config.model.options == {"width": 4}


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ('"model.hiden" = [[4]]', r"model.hiden=4: unknown key in \[model\] 'hiden'; did you mean 'hidden'\?"),
        ("sed = [4]", r"sed=4: unknown table or key 'sed'; did you mean 'seed'\?"),
        ('"training.epochs" = [1, 0]', r"training.epochs=0: \[training\] epochs: .*greater than or equal to 1, got 0"),
        ('"model.hidden" = [[4], "wide"]', r"model.hidden=wide: \[model\] hidden: .*got 'wide'"),
        ("seed = [0, 0]", "two runs would share the folder seed=0; an axis lists a value twice"),
        ('"seed.deep" = [0]', "sets a key of seed, which is no table"),
    ],
)
def test_a_wrong_key_or_value_names_the_run(write, grid: str, message: str) -> None:
    sweep = Sweep.from_file(write(f"[grid]\n{grid}\n"))
    with pytest.raises(ValueError, match=message):
        sweep.cells()


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("", r"has no \[grid\]; it lists what varies"),
        ("[grid]\n", r"has no \[grid\]"),
        ("[grid]\nseed = 3\n", "'seed' varies over a list of values, got 3"),
        ("[grid]\nseed = []\n", "'seed' varies over at least one value, got none"),
        ('[grid]\nseed = "012"\n', "varies over a list of values, got '012'"),
        ('[grid]\nname = ["a"]\n', "'name' cannot vary"),
        ("[grid]\ntogether = [1]\n", r"are tables \[\[grid.together\]\], got together = \[1\]"),
        (
            '[[grid.together]]\nseed = [0, 1]\n"training.epochs" = [1]\n',
            "need equally many values, got seed 2, training.epochs 1",
        ),
        ("[grid]\nseed = [0]\n[[grid.together]]\nseed = [1]\n", "'seed' is on two axes"),
        ("[grid]\nseed = [0\n", "is not TOML"),
    ],
)
def test_a_file_that_is_no_grid_says_why(write, grid: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sweep.from_file(write(grid))


def test_a_base_leaves_no_room_for_tables_beside_it(write, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has a base, which holds the run, and beside it model; move them there"):
        Sweep.from_file(write('base = "run.toml"\n[model]\nname = "mlp"\n[grid]\nseed = [0]\n', base=""))
    with pytest.raises(ValueError, match=r"there is no configuration .*run.toml"):
        Sweep.from_file(write('base = "run.toml"\n[grid]\nseed = [0]\n', base=""))
    with pytest.raises(ValueError, match=r"there is no grid file"):
        Sweep.from_file(tmp_path / "missing.toml")


def test_a_base_that_is_not_valid_names_the_file(write) -> None:
    with pytest.raises(ValueError, match=r"grid.toml: .*'epoch'; did you mean 'epochs'\?"):
        Sweep.from_file(write("epoch = 2\n[grid]\nseed = [0]\n"))


def test_text_is_no_list_of_letters(base: RunConfig) -> None:
    with pytest.raises(ValueError, match=r"'data\.name' varies over a list of values, got 'digits'"):
        Sweep(base, ({"data.name": "digits"},))


def test_a_sweep_without_axes_is_refused(base: RunConfig) -> None:
    for axes in ((), ({},)):
        with pytest.raises(ValueError, match="needs an axis"):
            Sweep(base, axes)
