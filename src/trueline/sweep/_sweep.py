"""A grid of runs: one configuration, and the values that some of its keys take."""

import itertools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from trueline.sweep._cell_name import cell_name
from trueline.train import RunConfig, dump_config, load_config, parse_config, with_overrides, with_values


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Args:
        name: of its folder, such as ``"model.width=4,seed=0"``.
        values: what is varied, by dotted key; None where a key is unset.
        config: the whole configuration.
    """

    name: str
    values: Mapping[str, Any]
    config: RunConfig


@dataclass(frozen=True)
class Sweep:
    """A configuration and axes along which it varies; the grid is the product of the axes.

    Args:
        base: a complete configuration.
        axes: each maps a dotted key to its values, which may be any that TOML holds; None or ``"none"`` unsets the key.
            An axis with several keys, of equally many values, moves them together.

    Raises:
        ValueError: if there is no axis, or one is empty, uneven, names a key twice or varies ``name``.

    Example:
        >>> base = RunConfig.model_validate({
        ...     "name": "first", "data": {"name": "digits"}, "model": {"name": "mlp"}, "objective": {"name": "dps"},
        ...     "optimizer": {"name": "sgd", "learning_rate": 0.1}, "training": {"epochs": 2, "batch_size": 64}})
        >>> sweep = Sweep(base, ({"model.hidden": [[8], [16]]}, {"seed": [0, 1]}))
        >>> [cell.name for cell in sweep.cells()]
        ['model.hidden=8,seed=0', 'model.hidden=8,seed=1', 'model.hidden=16,seed=0', 'model.hidden=16,seed=1']
    """

    base: RunConfig
    axes: tuple[Mapping[str, Sequence[Any]], ...]

    def __post_init__(self) -> None:
        if not any(self.axes):
            raise ValueError("a sweep needs an axis, such as {'seed': [0, 1, 2]}, got none")
        keys = [key for axis in self.axes for key in axis]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"'{key}' is on two axes; a key varies along one")
            if key == "name":
                raise ValueError("'name' cannot vary: the runs of a sweep are named by what varies")
        for axis in self.axes:
            for key, values in axis.items():
                if isinstance(values, str):  # a sequence too, of letters
                    raise ValueError(f"'{key}' varies over a list of values, got {values!r}")
                if not values:
                    raise ValueError(f"'{key}' varies over at least one value, got none")
            lengths = {key: len(values) for key, values in axis.items()}
            if len(set(lengths.values())) > 1:
                counts = ", ".join(f"{key} {length}" for key, length in lengths.items())
                raise ValueError(f"keys that vary together need equally many values, got {counts}")

    @classmethod
    def from_file(cls, path: str | Path, overrides: Sequence[str] = ()) -> "Sweep":
        """Read a grid file.

        Its tables are those of a run, or ``base`` names a file that has them, seen from the folder of the grid file;
        ``[grid]`` maps dotted keys to lists, and each ``[[grid.together]]`` maps keys that vary together to theirs.

        Args:
            path: a TOML file.
            overrides: changes of the base, such as ``"training.epochs=3"``.

        Returns:
            The sweep.

        Raises:
            ValueError: if the file is missing or no grid, the base is not valid, or an override sets what varies.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"there is no grid file {path}")
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not TOML: {error}") from error
        grid, base = tables.pop("grid", None), tables.pop("base", None)
        if not isinstance(grid, dict) or not grid:
            raise ValueError(f'{path} has no [grid]; it lists what varies, such as "model.width" = [1, 2, 4]')
        if base is None:
            config = parse_config(tables, origin=str(path))
        elif tables:
            raise ValueError(
                f"{path} has a base, which holds the run, and beside it {', '.join(tables)}; move them there"
            )
        else:
            config = load_config(path.parent / base)
        try:
            sweep = cls(config, tuple(_axes(grid)))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        varied = {key for axis in sweep.axes for key in axis}
        for override in overrides:
            if (key := override.partition("=")[0].strip()) in varied:
                raise ValueError(f"'{override}' sets what {path} varies; change its list of {key} there")
        return cls(with_overrides(config, overrides), sweep.axes)

    def cells(self) -> tuple[Cell, ...]:
        """Return every run of the grid, the last axis fastest, each with a valid configuration.

        Raises:
            ValueError: naming the run and the key, if a key is unknown, a value is not valid, or two runs are the same.
        """
        cells: dict[str, Cell] = {}
        for values in self._combinations():
            name = cell_name(values)
            # Another component drops the options of the one before, so names come before options.
            ordered = dict(sorted(values.items(), key=lambda item: not item[0].endswith(".name")))
            config = with_values(self.base, {**ordered, "name": f"{self.base.name}/{name}"}, origin=name)
            # Some file systems do not tell cases apart.
            if (other := cells.get(name.casefold())) is not None:
                raise ValueError(f"two runs would share the folder {other.name}; an axis lists a value twice")
            cells[name.casefold()] = Cell(name, values, config)
        return tuple(cells.values())

    def dump(self) -> str:
        """Return the grid file that :meth:`from_file` reads the same sweep from."""
        tables = tomllib.loads(dump_config(self.base))
        grid: dict[str, Any] = {}
        together: list[dict[str, Any]] = []
        for axis in self.axes:
            listed = {key: ["none" if value is None else value for value in values] for key, values in axis.items()}
            # In the file single keys come before those that vary together; the order of axes is kept.
            if len(axis) == 1 and not together:
                grid |= listed
            else:
                together.append(listed)
        return tomli_w.dumps({**tables, "grid": {**grid, **({"together": together} if together else {})}})

    def _combinations(self) -> Iterator[dict[str, Any]]:
        steps = [
            [dict(zip(axis, values, strict=True)) for values in zip(*axis.values(), strict=True)] for axis in self.axes
        ]
        for combination in itertools.product(*steps):
            merged = {key: value for step in combination for key, value in step.items()}
            yield {key: None if value == "none" else value for key, value in merged.items()}


def _axes(grid: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    together = grid.get("together", [])
    for key, values in _flat({key: value for key, value in grid.items() if key != "together"}):
        yield {key: values}
    if not isinstance(together, list) or not all(isinstance(axis, dict) for axis in together):
        raise ValueError(f"keys that vary together are tables [[grid.together]], got together = {together!r}")
    for axis in together:
        yield dict(_flat(axis))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys, whether they were quoted in the file or not."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            yield f"{prefix}{key}", value
        else:
            raise ValueError(f"'{prefix}{key}' varies over a list of values, got {value!r}")
