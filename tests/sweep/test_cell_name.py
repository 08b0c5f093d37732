"""Names of runs: readable, stable, one a run, and fit for a file system."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline.sweep._cell_name import LONGEST, cell_name

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"seed": 0}, "seed=0"),
        ({"model.width": 4, "seed": 12}, "model.width=4,seed=12"),
        ({"optimizer.learning_rate": 1e-05}, "optimizer.learning_rate=1e-05"),
        ({"data.noise.rate": 0.2}, "data.noise.rate=0.2"),
        ({"model.batch_norm": True}, "model.batch_norm=true"),
        ({"data.noise": None}, "data.noise=none"),
        ({"model.hidden": [16, 8]}, "model.hidden=16x8"),
        ({"objective.name": "cross_entropy"}, "objective.name=cross_entropy"),
    ],
)
def test_plain_values_are_written_as_they_are(values: dict[str, Any], name: str) -> None:
    assert cell_name(values) == name


@pytest.mark.parametrize("value", ["../up", "a/b", "a b", "", "ü", "C:\\x", {"rate": 0.1}, [], ["a"], [[1], [2]]])
def test_other_values_get_a_digest(value: Any) -> None:
    assert re.fullmatch(r"key=[\w.+-]*~[0-9a-f]{8}", cell_name({"key": value}), re.ASCII)


@given(VALUES)
def test_any_value_makes_one_part_of_a_path(value: Any) -> None:
    name = cell_name({"some.key": value})
    assert re.fullmatch(r"[A-Za-z0-9_.,=~+-]+", name)
    assert len(name) <= LONGEST + 9


def test_values_that_read_alike_have_names_of_their_own() -> None:
    alike = ["a/b", "a b", "a-b", "a\\b", ["a", "b"], {"a": "b"}]
    assert len({cell_name({"key": value}) for value in alike}) == len(alike)


def test_a_long_name_keeps_its_beginning_and_stays_unique() -> None:
    names = {cell_name({f"table.key_number_{k}": k for k in range(20)} | {"seed": seed}) for seed in range(50)}
    assert len(names) == 50
    assert all(name.startswith("table.key_number_0=0,") and len(name) == LONGEST + 9 for name in names)
