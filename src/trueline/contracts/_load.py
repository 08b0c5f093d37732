"""Fitted objects read back from the files that they were saved to."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from trueline.contracts._fittable import ENTRY, Fittable, class_name, restored


def load(path: str | Path, *, known: Iterable[type[Fittable]] = ()) -> Any:
    """Read a fitted calibrator, conformal method or other fitted object that ``save`` wrote.

    Nothing in the file is run: it names a class of Trueline, or one of ``known``, and holds its options and what it
    learned.

    Args:
        path: the file.
        known: classes of your own that may be in it.

    Returns:
        The fitted object, with its tensors on the CPU, to the bit as it was.

    Raises:
        ValueError: if the file is none that ``save`` wrote, or holds a class that is unknown here, or values that the
            class does not learn.

    Example:
        >>> import tempfile, torch, trueline
        >>> from trueline.calibrate import TemperatureScaling
        >>> labels, logits = torch.tensor([0, 1, 1, 0]), torch.tensor([-2.0, 4.0, 3.0, 1.0])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = TemperatureScaling().fit(labels, logits=logits).save(f"{folder}/scaling.safetensors")
        ...     scaling = trueline.load(path)
        >>> round(scaling.temperature_, 2)
        1.21
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is no file; give one that save(...) wrote")
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get(ENTRY)
            if header is None:
                raise ValueError(f"{path} holds no fitted object, only tensors; give a file that save(...) wrote")
            names = file.keys()  # a safetensors file does not iterate
            tensors = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(f"{path} holds no fitted object ({error}); give a file that save(...) wrote") from error
    return restored(json.loads(header), tensors, {class_name(kind): kind for kind in known})
