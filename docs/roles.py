"""Makes the docstrings of the library readable as Markdown: roles become links, and sections have griffe's names.

An extension for griffe, which reads the sources for the reference pages.
"""

import re

import griffe

ROLE = re.compile(r":(?:attr|class|data|func|meth):`~?([\w.]+)`")


class Roles(griffe.Extension):
    """Rewrites every docstring before its page is made."""

    def on_package(self, *, pkg, **_):
        """Visit all that the package holds, once, when it has been read."""
        public = {f"{group.path}.{name}" for group in pkg.modules.values() for name in group.exports or ()}
        _visit(pkg, public)
        for path in public:
            member = pkg[path.partition(".")[2]]
            member = member.final_target if member.is_alias else member
            if not member.docstring:
                member.docstring = griffe.Docstring("")  # a public constant is shown with its value


def _visit(owner, public):
    if owner.docstring:
        text = ROLE.sub(lambda role: _link(role[1], owner, public), owner.docstring.value)
        text = text.replace("\nExample:\n", "\nExamples:\n")
        owner.docstring.value = re.sub(r"::\n\n(?=    )", ":\n\n", text)
    for member in owner.members.values():
        if not member.is_alias:
            _visit(member, public)


def _link(name, owner, public):
    first, _, rest = name.partition(".")
    shown = name.rpartition(".")[2] if first == "trueline" else name
    # A name without a path is one of the owner's own group, or else of the contracts.
    group = ".".join(owner.path.split(".")[:2])
    for path in (name, f"{group}.{first}", f"trueline.contracts.{first}"):
        if path in public:
            return f"[`{shown}`][{path}{'.' + rest if rest and path != name else ''}]"
    return f"`{shown}`"
