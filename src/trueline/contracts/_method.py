"""The reference and the cost that every method carries as data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

_FACTS = "__trueline_facts__"

M = TypeVar("M", bound=Callable[..., Any])


@dataclass(frozen=True)
class Reference:
    """A published source.

    Args:
        authors: family names as printed, separated by commas.
        title: the title of the work.
        venue: journal, conference or publisher; ``"arXiv"`` for a preprint.
        year: year of that venue.
        arxiv: identifier such as ``"2512.24162"``, or None.
        doi: digital object identifier, or None.
    """

    authors: str
    title: str
    venue: str
    year: int
    arxiv: str | None = None
    doi: str | None = None

    def __str__(self) -> str:
        """One line of plain text, ready for a bibliography."""
        text = f"{self.authors}. {self.title}. {self.venue}, {self.year}."
        if self.arxiv:
            text += f" arXiv:{self.arxiv}."
        if self.doi:
            text += f" doi:{self.doi}."
        return text

    @property
    def bibtex(self) -> str:
        """A BibTeX entry whose key is the first author's name and the year."""
        key = "".join(c for c in self.authors.split(",")[0].split()[-1].lower() if c.isalnum())
        fields = {
            "author": " and ".join(name.strip() for name in self.authors.split(",")),
            "title": "{" + self.title + "}",
            "howpublished": self.venue,
            "year": str(self.year),
        }
        if self.arxiv:
            fields |= {"eprint": self.arxiv, "archiveprefix": "arXiv"}
        if self.doi:
            fields["doi"] = self.doi
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        return f"@misc{{{key}{self.year},\n{lines}\n}}"


@dataclass(frozen=True)
class Facts:
    """What the library knows about one method without running it.

    Args:
        name: the public name, as it is imported.
        group: the package that holds it, such as ``"supervise"``.
        summary: the first line of its docstring.
        references: where it was published, the defining source first.
        cost: time and memory in plain words, relative to one forward or training step.
    """

    name: str
    group: str
    summary: str
    references: tuple[Reference, ...]
    cost: str


def method(*references: Reference, cost: str) -> Callable[[M], M]:
    """Attach references and cost to a public class or function, as data.

    Args:
        *references: at least one source, the defining one first.
        cost: time and memory in plain words.

    Returns:
        A decorator that leaves the object as it is, apart from the attached facts.

    Raises:
        ValueError: if no reference is given, or the object has no docstring or lies outside a group.

    Example:
        >>> from trueline.calibrate import TemperatureScaling
        >>> facts_of(TemperatureScaling).references[0].year
        2017
    """
    if not references:
        raise ValueError("method() needs at least one Reference; a method without a source cannot be cited")

    def attach(target: M) -> M:
        if not target.__doc__:
            raise ValueError(f"{target.__qualname__} needs a docstring: its first line is the method's summary")
        package, *groups = target.__module__.split(".")
        if not groups:
            raise ValueError(f"{target.__qualname__} is defined in {package!r}, outside any group of methods")
        summary = target.__doc__.strip().splitlines()[0]
        setattr(target, _FACTS, Facts(target.__name__, groups[0], summary, references, cost))
        return target

    return attach


def facts_of(target: object) -> Facts:
    """Return the facts attached to ``target`` by :func:`method`.

    Args:
        target: a method's class or function, or an instance of the class.

    Returns:
        Its name, group, summary, references and cost.

    Raises:
        TypeError: if ``target`` carries no facts of its own (those of a base class do not count).
    """
    owner = target if hasattr(target, "__name__") else type(target)
    facts = vars(owner).get(_FACTS)
    if not isinstance(facts, Facts):
        raise TypeError(f"{owner!r} carries no facts; decorate its definition with @method(...)")
    return facts
