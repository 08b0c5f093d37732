"""Names of a configuration: what is filled in, what is an option, and what a mistyped name is told."""

import pytest

from trueline.contracts import Catalogue


def _disc(area: float, *, scale: float = 1.0, unit: str) -> tuple[float, str]:
    return area * scale, unit


SHAPES = Catalogue("shape", {"disc": _disc, "dot": lambda: 0.0}, context=("area", "colour"))


def test_options_are_what_the_run_does_not_supply() -> None:
    assert list(SHAPES.signature("disc").parameters) == ["scale", "unit"]
    assert SHAPES.signature("disc").parameters["scale"].default == 1.0


def test_each_entry_takes_as_much_of_the_context_as_it_asks_for() -> None:
    context = {"area": 2.0, "colour": "red"}
    assert SHAPES.build("disc", context=context, options={"unit": "m", "scale": 3.0}) == (6.0, "m")
    assert SHAPES.build("dot", context=context, options={}) == 0.0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("disk", {}, "unknown shape 'disk'; did you mean 'disc'. Known: disc, dot"),
        ("xyzzy", {}, "unknown shape 'xyzzy'; Known: disc, dot"),
        ("disc", {"unti": "m"}, "unknown option of shape 'disc' 'unti'; did you mean 'unit'"),
        ("disc", {"area": 1.0, "unit": "m"}, "unknown option of shape 'disc' 'area'"),
        ("disc", {}, "shape 'disc' needs unit"),
    ],
)
def test_what_is_wrong_is_named(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SHAPES.build(name, context={"area": 1.0}, options=options)


def test_it_is_a_mapping() -> None:
    assert list(SHAPES) == ["disc", "dot"]
    assert len(SHAPES) == 2
    assert "disc" in SHAPES
    assert "disk" not in SHAPES
    assert dict(SHAPES)["disc"] is _disc
