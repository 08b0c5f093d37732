"""Images in one sub-folder a class."""

from pathlib import Path

import torch

from trueline.data._examples import Examples
from trueline.data._images import MEMORY_LIMIT, read_images
from trueline.data._source import Source

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
TEST_FOLDERS = ("test", "val", "validation")


def image_folder(path: str | Path, *, size: int | None = None, memory_limit: int = MEMORY_LIMIT) -> Source:
    """Return the images below ``path``; the name of each sub-folder is the name of a class.

    If there is a sub-folder ``train``, the classes lie below it, and the first of ``test``, ``val`` and ``validation``
    that exists is the test set. Classes and files are taken in the order of their names. Hidden files and files that
    are no images by their suffix are left out.

    Args:
        path: the folder.
        size: side of the square that images are resized and cut from the centre to; needed where sizes differ.
        memory_limit: bytes of pixels above which images are decoded one by one when they are asked for.

    Returns:
        Training samples, uint8 RGB, or grey if all images are; and test samples if there are any.

    Raises:
        ImportError: if pillow (extra ``data``) is missing.
        ValueError: if there are fewer than two classes, a class is empty, train and test classes differ, an image
            cannot be read, or sizes differ and ``size`` is None.
    """
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"there is no folder {path}")
    if not (path / "train").is_dir():
        return Source(_read(path, size, memory_limit))
    train = _read(path / "train", size, memory_limit)
    for name in TEST_FOLDERS:
        if (path / name).is_dir():
            return Source(train, _read(path / name, size, memory_limit))
    return Source(train)


def _read(path: Path, size: int | None, memory_limit: int) -> Examples:
    classes = sorted(folder.name for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if len(classes) < 2:
        raise ValueError(f"{path} must hold one sub-folder for each of at least two classes, got {classes}")
    files: list[Path | bytes] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        members = sorted(file for file in (path / name).rglob("*") if _is_image(file))
        if not members:
            raise ValueError(f"{path / name} holds no images ({', '.join(sorted(SUFFIXES))}); add some or remove it")
        files += members
        labels += [label] * len(members)
    inputs = read_images(files, size=size, memory_limit=memory_limit, origin=str(path))
    return Examples(inputs, torch.tensor(labels), torch.tensor(labels), tuple(classes), torch.arange(len(labels)))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
