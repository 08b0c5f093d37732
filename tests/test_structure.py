"""The shape of the package: which way arrows point, what an import costs, what a signature must say."""

import ast
import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import trueline

SOURCE = Path(trueline.__file__).parent

FOUNDATION = {"contracts", "numerics"}
METHODS = {
    "calibrate", "conformal", "counterfactual", "data", "explain", "measure", "models", "probe", "regression",
    "regularize", "robustness", "steer", "supervise",
}  # fmt: skip
MAY_IMPORT = {
    **{group: set() for group in FOUNDATION},
    **{group: FOUNDATION | {"measure"} for group in METHODS},
    "measure": FOUNDATION,
    "explain": FOUNDATION | {"measure", "steer"},  # what an attack follows in the place of ReLU is a steered twin
    "train": FOUNDATION | METHODS,
    "recipes": FOUNDATION | METHODS | {"train"},
    "page": FOUNDATION | {"measure"},
    "report": FOUNDATION | METHODS | {"train", "page"},
    "predictions": FOUNDATION | {"train"},
    "subjects": FOUNDATION | {"data", "models", "train"},
    "calibrating": FOUNDATION | METHODS | {"train", "page", "predictions", "subjects"},
    "probing": FOUNDATION | METHODS | {"train", "page", "subjects"},
    "explaining": FOUNDATION | METHODS | {"train", "page", "subjects", "probing"},
    "auditing": FOUNDATION
    | METHODS
    | {"train", "page", "predictions", "subjects", "calibrating", "probing", "explaining"},
    "steering": FOUNDATION | METHODS | {"train", "page", "subjects"},
    "sweep": FOUNDATION | METHODS | {"train"},
    "cli": FOUNDATION
    | METHODS
    | {
        "auditing",
        "calibrating",
        "explaining",
        "page",
        "predictions",
        "probing",
        "recipes",
        "report",
        "steering",
        "subjects",
        "sweep",
        "train",
    },
}
OPTIONAL = {
    "PIL", "altair", "captum", "datasets", "jinja2", "pandas", "pyarrow", "quantus", "ray", "scipy", "sklearn",
    "torchvision", "vl_convert",
}  # fmt: skip
HEAVY = {"accelerate", "pydantic", "rich", "typer"}
LIGHT_GROUPS = sorted(FOUNDATION | METHODS)


def _our_imports(path: Path) -> Iterator[tuple[str, ...]]:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) and node.module == "trueline":
            names = [f"trueline.{alias.name}" for alias in node.names]
        yield from (tuple(name.split(".")[1:]) for name in names if name.startswith("trueline."))


def _files() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE)


def test_arrows_point_one_way() -> None:
    back = [
        f"{path.relative_to(SOURCE)} imports {imported[0]}"
        for path in _files()
        for imported in _our_imports(path)
        if imported[0] != (group := path.relative_to(SOURCE).parts[0])
        and imported[0] not in MAY_IMPORT[group]
        and imported[0] != "__version__"
    ]
    assert not back, back


def test_private_modules_stay_in_their_group() -> None:
    crossing = [
        f"{path.relative_to(SOURCE)} imports {'.'.join(imported)}"
        for path in _files()
        for imported in _our_imports(path)
        if imported[0] != path.relative_to(SOURCE).parts[0] and any(part.startswith("_") for part in imported[1:])
    ]
    assert not crossing, crossing


def test_every_group_is_drawn() -> None:
    groups = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert groups == set(MAY_IMPORT)


def _imports(groups: list[str]) -> str:
    return "; ".join(f"import trueline.{group}" for group in groups)


def _loaded_by(groups: list[str]) -> set[str]:
    program = f"import sys, torch; before = set(sys.modules); {_imports(groups)}; print(*set(sys.modules) - before)"
    return {module.partition(".")[0] for module in _run(program).split()}


def _run(program: str) -> str:
    # Bytecode is kept, as in any installed package: compiling the sources is no part of what an import costs.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120, env=environment
    ).stdout.strip()


def test_the_light_groups_load_no_optional_and_no_heavy_package() -> None:
    loaded = _loaded_by(LIGHT_GROUPS)
    assert not loaded & OPTIONAL
    assert not loaded & HEAVY


def test_no_group_loads_an_optional_package() -> None:
    assert not _loaded_by(sorted(MAY_IMPORT)) & OPTIONAL


def test_importing_costs_at_most_a_quarter_second_over_torch() -> None:
    program = f"""
import importlib, time, torch
spent = []
for name in {["trueline", *(f"trueline.{group}" for group in LIGHT_GROUPS)]}:
    start = time.process_time()
    importlib.import_module(name)
    spent.append(time.process_time() - start)
print(max(spent))
"""
    assert min(float(_run(program)) for _ in range(3)) <= 0.25


def _public_callables() -> Iterator[tuple[str, object]]:
    for group in sorted(MAY_IMPORT):
        module = importlib.import_module(f"trueline.{group}")
        for name in module.__all__:
            member = getattr(module, name)
            if inspect.isclass(member):
                for key, value in vars(member).items():
                    function = getattr(value, "__func__", value)
                    if inspect.isfunction(function) and (key in ("__init__", "forward") or not key.startswith("_")):
                        yield f"{group}.{name}.{key}", function
            elif inspect.isfunction(member):
                yield f"{group}.{name}", member


def test_every_public_tensor_names_its_axes() -> None:
    bare = [
        f"{name}({parameter})"
        for name, function in _public_callables()
        for parameter, annotation in inspect.get_annotations(function).items()
        if annotation is torch.Tensor or torch.Tensor in getattr(annotation, "__args__", ())
    ]
    assert not bare, f"annotate with named axes, such as Float[Tensor, 'B C']: {', '.join(bare)}"


@pytest.mark.parametrize("group", sorted(MAY_IMPORT))
def test_public_lists_are_complete_and_documented(group: str) -> None:
    module = importlib.import_module(f"trueline.{group}")
    assert module.__doc__
    for name in module.__all__:
        member = getattr(module, name)
        if inspect.isclass(member) or inspect.isfunction(member):
            assert member.__doc__, f"{group}.{name} needs a docstring"
            assert member.__module__.startswith(f"trueline.{group}")
