"""The figure of a study, as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trueline.contracts import import_optional, write_atomically
from trueline.recipes._study import Study


def write_figure(study: Study, scores: Mapping[str, Mapping[str, Sequence[float]]], folder: Path) -> tuple[Path, Path]:
    """Write the figure of a study as a picture and as a page that opens offline.

    Args:
        study: the experiment, with a figure.
        scores: per variant and metric, one value per seed, as in :class:`Reproduction`.
        folder: where ``figure.svg`` and ``figure.html`` go.

    Returns:
        The paths of the picture and of the page.

    Raises:
        ValueError: if the study has no figure.
        ImportError: if the ``report`` extra is not installed.
    """
    if study.figure is None:
        raise ValueError(f"{study.name} has no figure")
    convert = import_optional("vl_convert", extra="report", purpose="writing the figure of a study")
    spec = study.figure(scores).to_json()
    picture, page = folder / "figure.svg", folder / "figure.html"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(picture, convert.vegalite_to_svg(spec))
    write_atomically(page, convert.vegalite_to_html(spec, bundle=True))
    return picture, page
