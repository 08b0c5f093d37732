"""What the findings of recalibration and of conformal prediction share: sentences, a file to keep, and a page."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from warnings import WarningMessage

from trueline.contracts import Fittable, write_atomically
from trueline.page import sentence_case

SEEN = 0.05  # share of fitted samples among the judged ones that cannot be chance


class Findings(ABC):
    """What was found about something fitted; the values lie in the frozen dataclass that derives from this.

    Args:
        verdict: what the numbers say, as paragraphs of plain text.
        notes: what a reader should know, as sentences.
    """

    verdict: tuple[str, ...]
    notes: tuple[str, ...]

    @abstractmethod
    def _kept(self) -> Fittable:
        """Return what was fitted."""

    @abstractmethod
    def _page(self) -> str:
        """Return the page."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold."""

    def save(self, path: str | Path) -> Path:
        """Write what was fitted to one file that :func:`trueline.load` reads.

        Args:
            path: the file.

        Returns:
            The path.
        """
        return self._kept().save(path)

    def write_html(self, path: str | Path) -> Path:
        """Write the page: one HTML file that opens offline.

        Args:
            path: the file; replaced as a whole if it exists.

        Returns:
            The path.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        write_atomically(Path(path), self._page())
        return Path(path)

    def __str__(self) -> str:
        """Return the verdict and the notes."""
        return "\n\n".join([*self.verdict, *self.notes])


def warned(caught: Sequence[WarningMessage]) -> list[str]:
    """Return warnings as notes, each once.

    Args:
        caught: what a fit warned of.
    """
    return list(dict.fromkeys(f"{sentence_case(str(one.message)).rstrip('.')}." for one in caught))
