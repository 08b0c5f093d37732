"""Configurations as TOML text, and edits of single keys."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from trueline.train._config import Component, DataConfig, RunConfig, plain


def load_config(path: str | Path) -> RunConfig:
    """Read a configuration.

    Args:
        path: a TOML file; that of a run folder will do.

    Returns:
        The configuration.

    Raises:
        ValueError: if the file is missing or not TOML, a key is unknown (naming the nearest known one), or a value
            is out of range.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no configuration {path}")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    return parse_config(tables, origin=str(path))


def parse_config(tables: dict[str, Any], *, origin: str) -> RunConfig:
    """Return the configuration that plain tables describe.

    Args:
        tables: as TOML gives them.
        origin: what to call them in an error.

    Returns:
        The configuration.

    Raises:
        ValueError: with one line for everything that is wrong.
    """
    try:
        return RunConfig.model_validate(tables)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            if item["type"] == "value_error":  # our own sentences say where
                lines.append(str(item["ctx"]["error"]))
                continue
            *table, key = (str(part) for part in item["loc"]) if item["loc"] else ("configuration",)
            where = f"[{'.'.join(table)}] " if table else ""
            got = "" if item["type"] == "missing" else f", got {item['input']!r}"
            lines.append(f"{where}{key}: {item['msg']}{got}")
        raise ValueError(f"{origin}: " + "\n".join(dict.fromkeys(lines))) from None


def dump_config(config: RunConfig) -> str:
    """Return a configuration as TOML; ``load_config`` reads the same one back.

    Args:
        config: any configuration.

    Returns:
        TOML with every default written out, except those of the named components.
    """
    return tomli_w.dumps(plain(config))


def with_overrides(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """Return a configuration with single keys replaced.

    Values are TOML; a bare word is text and ``none`` unsets a key. Another ``model.name``, ``objective.name`` or
    ``data.name`` drops the options of the component that it replaces, so name it first.

    Args:
        config: the configuration to begin with, left as it is.
        overrides: such as ``"training.epochs=3"``, applied in order.

    Returns:
        The new configuration.

    Raises:
        ValueError: if an override has no ``=``, a key is unknown, or a value is out of range.

    Example:
        >>> base = RunConfig.model_validate({
        ...     "name": "first", "data": {"name": "digits"}, "model": {"name": "mlp"}, "objective": {"name": "dps"},
        ...     "optimizer": {"name": "sgd", "learning_rate": 0.1}, "training": {"epochs": 2, "batch_size": 64}})
        >>> with_overrides(base, ["training.epochs=3", "objective.name=pskd"]).training.epochs
        3
    """
    return _with(config, map(_read_override, overrides), origin="overrides")


def with_values(config: RunConfig, values: Mapping[str, Any], *, origin: str = "values") -> RunConfig:
    """Return a configuration with the values of some keys replaced, as :func:`with_overrides` does for text.

    Args:
        config: the configuration to begin with, left as it is.
        values: plain values by dotted key, such as ``{"training.epochs": 3}``, set in order; None unsets a key.
        origin: what to call the values in an error.

    Returns:
        The new configuration.

    Raises:
        ValueError: if a key is unknown, or a value is out of range.

    Example:
        >>> base = RunConfig.model_validate({
        ...     "name": "first", "data": {"name": "digits"}, "model": {"name": "mlp"}, "objective": {"name": "dps"},
        ...     "optimizer": {"name": "sgd", "learning_rate": 0.1}, "training": {"epochs": 2, "batch_size": 64}})
        >>> with_values(base, {"model.hidden": [16], "seed": 3}).model.options
        {'hidden': (16,)}
    """
    return _with(config, values.items(), origin=origin)


def _with(config: RunConfig, values: Iterable[tuple[str, Any]], *, origin: str) -> RunConfig:
    tables = plain(config)
    for path, value in values:
        *parents, key = path.split(".")
        table = tables
        for depth, parent in enumerate(parents, start=1):
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise ValueError(f"{origin}: '{path}' sets a key of {'.'.join(parents[:depth])}, which is no table")
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value
        if key == "name" and parents:
            _drop_options(config, tables, parents[0])
    return parse_config(tables, origin=origin)


def _read_override(override: str) -> tuple[str, Any]:
    path, equals, text = override.partition("=")
    parts = [part.strip() for part in path.split(".")]
    if not equals or not parts[-1]:
        raise ValueError(f"an override has the form table.key=value, got {override!r}")
    return ".".join(parts), _value(override, text.strip())


def _value(override: str, text: str) -> Any:
    if text == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        if text and not any(sign in text for sign in "[]{}\"'\n"):
            return text
        raise ValueError(f"{override!r} has no TOML value: {error}") from error


def _drop_options(config: RunConfig, tables: dict[str, Any], name: str) -> None:
    component = getattr(config, name, None)
    if isinstance(component, Component) and tables[name].get("name") != component.name:
        kept = DataConfig.model_fields if isinstance(component, DataConfig) else ("name",)
        tables[name] = {key: value for key, value in tables[name].items() if key in kept}
