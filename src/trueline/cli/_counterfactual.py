"""``trueline counterfactual``: what it takes to change a head's predictions, from saved embeddings alone."""

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from trueline.cli._exit import plain_errors

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trueline.counterfactual import Counterfactuals, Support

_EMBEDDINGS = ("embeddings", "features", "z")
_LABELS = ("labels", "y")
_KEYS = (*_EMBEDDINGS, *_LABELS, "weight", "bias", "reference", "train", "class_names")
_SHOWN = 8  # examples in the table


class EmbeddingFile(NamedTuple):
    """What a file of embeddings holds.

    Args:
        embeddings: (N, D) float64.
        labels: (N,) int64.
        head: the linear head in the file, or None.
        reference: rows that say where data are.
        train: rows that a head may be fitted to.
        explained: rows whose predictions are changed.
        class_names: a name for each class.
        notes: what a reader should know about the choice of rows.
    """

    embeddings: "Tensor"
    labels: "Tensor"
    head: "nn.Linear | None"
    reference: "Tensor"
    train: "Tensor"
    explained: "Tensor"
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


def counterfactual(
    embeddings: Annotated[
        Path,
        typer.Argument(
            help="A .npz file with arrays embeddings (N, D) and labels (N,); if there are any, weight (C, D) and bias "
            "(C,) of a linear head, reference (N,) and train (N,), true for the rows that serve as such, class_names."
        ),
    ],
    head: Annotated[str, typer.Option(help="The head to fit where the file has none, such as logistic or lda.")] = (
        "logistic"
    ),
    support: Annotated[str, typer.Option(help="How data support is measured: local or mahalanobis.")] = "local",
    k: Annotated[int, typer.Option(min=1, help="Which neighbour local support goes by.")] = 20,
    quantile: Annotated[float, typer.Option(help="Of the examples' own radii: the largest supported one.")] = 0.5,
    radius: Annotated[float, typer.Option(help="Of a search, 1 is as far as two examples usually are.")] = 1.0,
    support_weight: Annotated[float, typer.Option(help="How strongly data pull.")] = 2.0,
    samples: Annotated[int | None, typer.Option(min=1, help="Most examples to explain.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses rows where the file does not say which, and samples.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number.")] = False,
) -> None:
    """Change predictions: how near another class is, how far a search goes, and whether it ends where data are."""
    from trueline.counterfactual import find_counterfactuals, fit_head, nearest_example, published_probe_later

    with plain_errors():
        file = _read(embeddings, seed, samples)
        fitted = file.head
        if fitted is None:
            network = fit_head(head, file.embeddings[file.train], file.labels[file.train], seed=seed).double()
        else:
            network = fitted.double()
        z = file.embeddings[file.explained]
        data = _support(support, file, k, quantile)
        found = {
            "nearest real example": nearest_example(network, z, data, radius=radius),
            "published probe": published_probe_later(network, z, data),
            "search, data not asked": find_counterfactuals(network, z, data, radius=radius, support_weight=0.0),
            "search, drawn to data": find_counterfactuals(
                network, z, data, radius=radius, support_weight=support_weight
            ),
        }
        last = found["search, drawn to data"]
        accuracy = (last.predicted == file.labels[file.explained]).double().mean().item()
    if as_json:
        record = {
            "file": str(embeddings),
            "head": "of the file" if fitted is not None else head,
            "accuracy": accuracy,
            "scale": data.scale,
            "reference_rows": file.reference.tolist(),
            "explained_rows": file.explained.tolist(),
            "notes": list(file.notes),
            "searches": {name: record.to_dict() for name, record in found.items()},
        }
        typer.echo(json.dumps(record, indent=2, allow_nan=False))
    else:
        _print(file, found, accuracy, "of the file" if fitted is not None else head)


def _read(path: Path, seed: int, samples: int | None) -> EmbeddingFile:
    import numpy as np
    import torch
    from torch import nn

    from trueline.contracts import unknown_name

    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            values: dict[str, Any] = {key: stored[key] for key in stored.files}
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read ({error}); write it with numpy.savez") from error
    for key in values:
        if key not in _KEYS:
            raise ValueError(unknown_name(f"array in {path.name}", key, _KEYS))
    points, labels = (_one(path, values, names) for names in (_EMBEDDINGS, _LABELS))
    if points.ndim < 2 or points.dtype.kind != "f":
        raise ValueError(f"embeddings must be floating point of shape (N, D), got {points.dtype} {points.shape}")
    if labels.dtype.kind not in "iu" or labels.shape != points.shape[:1]:
        raise ValueError(f"labels must be integers of shape ({len(points)},), got {labels.dtype} {labels.shape}")
    z = torch.from_numpy(points.astype(np.float64)).flatten(1)
    y = torch.from_numpy(labels.astype(np.int64))
    head: nn.Linear | None = None
    if "weight" in values:
        weight = torch.from_numpy(np.atleast_2d(values["weight"]).astype(np.float64))
        if weight.shape[1] != z.shape[1]:
            turned = "; save weight.T" if weight.shape[0] == z.shape[1] else ""
            raise ValueError(f"weight must have shape (C, {z.shape[1]}), got {tuple(weight.shape)}{turned}")
        bias = torch.from_numpy(np.atleast_1d(values.get("bias", np.zeros(len(weight)))).astype(np.float64))
        if bias.shape != weight.shape[:1]:
            raise ValueError(f"bias must have shape ({len(weight)},) to match weight, got {tuple(bias.shape)}")
        head = nn.Linear(weight.shape[1], len(weight), dtype=torch.float64)
        head.load_state_dict({"weight": weight, "bias": bias})
    elif "bias" in values:
        raise ValueError(f"{path.name} has a bias and no weight; save both, or neither to have a head fitted")
    reference, train, explained, notes = _rows(values, len(z), seed, fitted=head is None)
    if samples is not None and samples < len(explained):
        chosen = torch.randperm(len(explained), generator=torch.Generator().manual_seed(seed))[:samples]
        explained = explained[chosen.sort().values]
    classes = max(int(y.max()) + 1, 0 if head is None else head.out_features, 2)
    names = tuple(str(name) for name in values.get("class_names", range(classes)))
    if len(names) < classes:
        raise ValueError(f"class_names must name all {classes} classes, got {len(names)}")
    return EmbeddingFile(z, y, head, reference, train, explained, names, notes)


def _one(path: Path, values: dict[str, Any], names: tuple[str, ...]) -> Any:
    found = [name for name in names if name in values]
    if len(found) != 1:
        got = ", ".join(values) or "nothing"
        raise ValueError(f"{path.name} must have exactly one of {', '.join(names)}, got {got}")
    return values[found[0]]


def _rows(
    values: dict[str, Any], count: int, seed: int, *, fitted: bool
) -> tuple["Tensor", "Tensor", "Tensor", tuple[str, ...]]:
    """Return the rows for reference, for training and to be explained, and what to say about the choice."""
    import torch

    masks = {}
    for name in ("reference", "train"):
        if name in values:
            if values[name].dtype.kind != "b" or values[name].shape != (count,):
                raise ValueError(
                    f"{name} must be true or false for each of the {count} rows, got {values[name].dtype} "
                    f"{values[name].shape}"
                )
            masks[name] = torch.from_numpy(values[name])
    none = torch.zeros(count, dtype=torch.bool)
    train = masks.get("train", none)
    notes = []
    if "reference" in masks:
        reference = masks["reference"]
        if fitted and "train" not in masks:
            train = reference
            notes.append("the head was fitted to the reference rows, around which it is surer than elsewhere")
    else:
        free = (~train).nonzero().flatten()
        order = free[torch.randperm(len(free), generator=torch.Generator().manual_seed(seed))]
        if fitted and "train" not in masks:
            half = len(order) // 2
            train, order = none.index_fill(0, order[:half], value=True), order[half:]
        reference = none.index_fill(0, order[: len(order) // 2], value=True)
        notes.append("rows were drawn at random; name your own with the arrays reference and train")
    explained = ~(reference | train)
    for name, rows in (("reference", reference), ("training", train), ("explained", explained)):
        if not rows.any() and (name != "training" or fitted):
            raise ValueError(f"there are no {name} rows among the {count}; give more, or other masks")
    chosen, fit, rest = (rows.nonzero().flatten() for rows in (reference, train, explained))
    return chosen, fit, rest, tuple(notes)


def _support(name: str, file: EmbeddingFile, k: int, quantile: float) -> "Support":
    from trueline.counterfactual import LocalSupport, MahalanobisSupport

    points, labels = file.embeddings[file.reference], file.labels[file.reference]
    if name == "local":
        return LocalSupport(points, labels, k, quantile)
    if name == "mahalanobis":
        return MahalanobisSupport(points, labels, quantile)
    raise ValueError(f"support must be local or mahalanobis, got {name!r}")


def _print(file: EmbeddingFile, found: dict[str, "Counterfactuals"], accuracy: float, head: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from trueline.page import percent

    console = Console()
    if not console.is_terminal:
        console.width = 240  # a file has no edge to fold at
    *_, last = found.values()
    boundary = last.boundary_distance
    sentences = [
        f"{len(file.explained):,} predictions of the head {head}, {percent(accuracy)} of them right, and "
        f"{len(file.reference):,} reference examples. The boundary to the runner-up is {boundary.median():.3g} away at "
        f"the median; two examples are usually {last.options['scale']:.3g} apart.",
        *str(last).splitlines()[1:],
    ]
    for sentence in sentences:
        console.print(Text(sentence), soft_wrap=not console.is_terminal)
    console.print()
    table = Table(title="ways to another prediction, 95 % intervals", show_edge=False)
    table.add_column("way")
    for heading in ("flipped", "among data", "mean distance", "mean steps"):
        table.add_column(Text(heading), justify="right")
    for name, record in found.items():
        shares = [
            f"{percent(share.value)}  [{percent(share.low)} to {percent(share.high)}]"
            for share in (record.success_rate, record.supported_rate)
        ]
        means = [
            "none flipped" if mean is None else f"{mean.value:.3g}"
            for mean in (record.mean_distance, record.mean_steps)
        ]
        table.add_row(Text(name), *shares, *means)
    console.print(table)
    console.print()
    table = Table(title="the counterfactuals, beside the nearest real example of their class", show_edge=False)
    for heading in ("row", "from", "to", "outcome", "distance", "boundary", "real example", "its distance"):
        table.add_column(Text(heading), justify="left" if heading in ("from", "to", "outcome") else "right")
    for i in range(min(_SHOWN, len(file.explained))):
        row = int(last.nearest_index[i])
        outcome = "among data" if last.supported[i] else "off the data" if last.success[i] else last.status[i]
        table.add_row(
            str(int(file.explained[i])),
            Text(file.class_names[int(last.predicted[i])]),
            Text(file.class_names[int(last.target[i])]),
            outcome,
            f"{last.distance[i]:.3g}",
            f"{boundary[i]:.3g}",
            "none" if row < 0 else f"row {int(file.reference[row])}",
            "" if row < 0 else f"{last.nearest_distance[i]:.3g}",
        )
    console.print(table)
    for note in file.notes:
        console.print(Text(f"note: {note}"), soft_wrap=not console.is_terminal)
