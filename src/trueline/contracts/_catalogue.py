"""Names a configuration may use, each standing for a callable whose own signature says what options it takes."""

import difflib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Catalogue(Mapping[str, Callable[..., T]], Generic[T]):
    """A read-only mapping from configuration names to the callables that build what they name.

    Parameters listed in ``context`` are filled in by the run (the labels, the number of classes, ...);
    all others are options. Defaults and types are read from the callable, so they are stated once.

    Args:
        kind: what the entries are, for messages: ``"objective"``, ``"model"``, ``"data set"``.
        entries: the callables by name.
        context: names of the parameters that the run supplies.

    Example:
        >>> shapes = Catalogue("shape", {"square": lambda area, *, scale=1.0: scale * area**0.5}, context=("area",))
        >>> shapes.build("square", context={"area": 4.0}, options={"scale": 3.0})
        6.0
        >>> shapes["squrae"]
        Traceback (most recent call last):
        ValueError: unknown shape 'squrae'; did you mean 'square'? Known: square
    """

    def __init__(self, kind: str, entries: Mapping[str, Callable[..., T]], *, context: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self._context = context

    def __getitem__(self, name: str) -> Callable[..., T]:
        if name not in self._entries:
            raise ValueError(unknown_name(self.kind, name, self._entries))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def signature(self, name: str) -> inspect.Signature:
        """Return the options of one entry, with their defaults and annotations.

        Args:
            name: an entry's name.

        Returns:
            Its signature without the parameters that the run supplies.

        Raises:
            ValueError: if the name is unknown, naming the nearest known one.
        """
        full = inspect.signature(self[name])
        options = [p for p in full.parameters.values() if p.name not in self._context]
        return full.replace(parameters=options)

    def build(self, name: str, *, context: Mapping[str, Any], options: Mapping[str, Any]) -> T:
        """Call one entry with its options and as much of the context as it takes.

        Args:
            name: an entry's name.
            context: what the run supplies, by parameter name.
            options: the entry's own options, by parameter name.

        Returns:
            What the callable returns.

        Raises:
            ValueError: if the name or an option is unknown, naming the nearest known one, or an option is missing.
        """
        known = self.signature(name).parameters
        for option in options:
            if option not in known:
                raise ValueError(unknown_name(f"option of {self.kind} '{name}'", option, known))
        missing = [p.name for p in known.values() if p.default is p.empty and p.name not in options]
        if missing:
            raise ValueError(f"{self.kind} '{name}' needs {', '.join(missing)}")
        taken = inspect.signature(self[name]).parameters
        return self[name](**{key: value for key, value in context.items() if key in taken}, **options)


def unknown_name(kind: str, name: str, known: Collection[str]) -> str:
    """Return a message that ends the search for a mistyped name.

    Args:
        kind: what was asked for.
        name: the name that is not known.
        known: the known names.

    Returns:
        One sentence naming the nearest known name, if one is near, and all of them.
    """
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"unknown {kind} '{name}'; {hint}Known: {', '.join(known) or 'none'}"
