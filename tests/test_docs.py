"""The documentation: its code runs, its configurations are valid, its paths exist, and it names what there is."""

import contextlib
import io
import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer.main

import trueline
from trueline.cli import app
from trueline.recipes import RECIPES
from trueline.supervise import OBJECTIVES
from trueline.sweep import Sweep
from trueline.train import RunConfig, load_config
from trueline.train import _config as tables

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BASE = {
    "name": "base",
    "data": {"name": "digits"},
    "model": {"name": "mlp"},
    "objective": {"name": "dps"},
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "training": {"epochs": 30, "batch_size": 64},
}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _blocks(path: Path, language: str) -> list[tuple[int, str]]:
    """Return the fenced blocks of one language, each with the line that it begins at."""
    text = path.read_text(encoding="utf-8")
    found = FENCE.finditer(text)
    return [(text.count("\n", 0, block.start()) + 2, block[2]) for block in found if block[1] == language]


@pytest.mark.parametrize("path", [*TOP, *GUIDES], ids=_name)
def test_python_blocks_run_in_order(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "page"}
    for line, source in _blocks(path, "python"):
        code = compile("\n" * (line - 1) + source, str(path), "exec")  # so that a traceback names the page's line
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, namespace)


@pytest.mark.parametrize("path", [*TOP, *GUIDES], ids=_name)
def test_toml_blocks_are_valid_configurations(path: Path, tmp_path: Path) -> None:
    for line, source in _blocks(path, "toml"):
        given = tomllib.loads(source)
        if "name" in given:
            (tmp_path / "block.toml").write_text(source, encoding="utf-8")
            if "grid" in given:
                assert Sweep.from_file(tmp_path / "block.toml").cells()
            else:
                load_config(tmp_path / "block.toml")
            continue
        merged = {**BASE, **{key: {**BASE.get(key, {}), **value} for key, value in given.items()}}  # type: ignore[dict-item]
        assert RunConfig.model_validate(merged), f"line {line}"


def test_the_annotated_configuration_shows_every_key_with_its_default() -> None:
    ((_, source), *_) = _blocks(ROOT / "docs" / "guides" / "configuration.md", "toml")
    # Keys without a default are commented out: uncovered, the file names every key there is.
    uncovered = re.sub(r"^# (?=\w+ = )", "", source, flags=re.MULTILINE)
    rest = (ROOT / "docs" / "guides" / "configuration.md").read_text(encoding="utf-8").replace(source, "")
    shown = tomllib.loads(uncovered)
    classes = [value for value in vars(tables).values() if isinstance(value, type) and issubclass(value, tables.Table)]
    named = {cls.table: cls for cls in classes if cls.table and "table" in vars(cls)}
    assert len(named) >= 10
    for table, cls in named.items():
        here: Any = shown
        for part in table.split("."):
            here = here.get(part, {})
        if not isinstance(here, dict) or not here:  # it has a block of its own
            assert f"[{table}]\n" in rest
            assert all(re.search(rf"^{key} = ", rest, re.MULTILINE) for key in cls.model_fields)
            continue
        nested = {other.rpartition(".")[2] for other in named if other.rpartition(".")[0] == table}
        assert set(cls.model_fields) - nested <= here.keys(), f"[{table}] lacks a key in the guide"
    _check_defaults(tomllib.loads(source))


def _check_defaults(shown: Mapping[str, Any]) -> None:
    chosen = {("data", "name"), ("data", "noise"), ("model", "hidden"), ("objective", "label_half_life")}
    minimal = {table: {key: shown[table][key] for key in required} for table, required in {
        "data": ["name"], "model": ["name"], "objective": ["name"], "optimizer": ["name", "learning_rate"],
        "training": ["epochs", "batch_size"],
    }.items()}  # fmt: skip
    plain = tables.plain(RunConfig.model_validate({"name": shown["name"], **minimal}))
    for table, keys in shown.items():
        for key, value in keys.items() if isinstance(keys, dict) else ():
            if (table, key) not in chosen:
                assert plain[table][key] == value, f"[{table}] {key} has the default {plain[table][key]!r}"


@pytest.mark.parametrize("path", [*TOP, *PAGES], ids=_name)
def test_links_and_paths_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    prose = FENCE.sub("", text)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if not re.match(r"https?:|mailto:|#", target):
            assert (path.parent / target.partition("#")[0]).exists(), f"{_name(path)} links to {target}"
    for named in re.findall(r"(?<![\w/.])((?:benchmarks|docs|examples|recipes|src|tests)/[\w./-]*)", text):
        assert (ROOT / named.rstrip(".")).exists(), f"{_name(path)} names {named}"


@pytest.mark.parametrize("path", [*TOP, *PAGES], ids=_name)
def test_commands_and_their_options_exist(path: Path) -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for _, source in _blocks(path, "bash") + _blocks(path, "sh"):
        for line in source.splitlines():
            if "-m trueline" in line:
                assert (ROOT / "src" / "trueline" / "__main__.py").is_file(), line
            words = shlex.split(line, comments=True)
            if "trueline" not in words or words[0] == "git":
                continue
            verb, *arguments = words[words.index("trueline") + 1 :]
            assert verb in verbs, line
            known = {option for parameter in verbs[verb].params for option in parameter.opts}
            assert {word for word in arguments if word.startswith("--")} <= known, line
            if verb == "reproduce" and arguments:
                assert arguments[0] in RECIPES, line


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in [*TOP, *PAGES]:
        text = path.read_text(encoding="utf-8")
        named = re.findall(r"`make ([a-z]+)`", text) + re.findall(r"^make ([a-z]+)", text, re.MULTILINE)
        assert set(named) <= targets, path


def test_every_group_verb_and_objective_has_its_place() -> None:
    reference = ROOT / "docs" / "reference"
    groups = {path.parent.name for path in Path(trueline.__file__).parent.glob("*/__init__.py")} - {"cli"}
    assert {path.stem for path in reference.glob("*.md")} == groups | {"cli"}
    for group in groups:
        assert f"::: trueline.{group}\n" in (reference / f"{group}.md").read_text(encoding="utf-8")
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    listed = re.findall(r"^\| `trueline (\w+)`", (reference / "cli.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(listed) == set(verbs)
    choice = (ROOT / "docs" / "guides" / "choose-an-objective.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", choice, re.MULTILINE)) == set(OBJECTIVES)


def test_the_site_fetches_nothing() -> None:
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert re.search(r"^  font: false", settings, re.MULTILINE)
    assert not re.search(r"https?://|repo_url|extra_javascript|extra_css|analytics|inventories", settings)
