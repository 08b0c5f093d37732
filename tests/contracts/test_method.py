"""References and costs as data."""

import subprocess
import sys

import pytest

from trueline.contracts import Reference, facts_of, import_optional, method
from trueline.supervise import DPS, CrossEntropy

PAPER = Reference("Ada van Example, Bob Second", "A Title: Of Things", "JMLR", 2020, arxiv="2001.00001", doi="10.1/x")


def test_a_reference_reads_as_one_line_and_as_bibtex() -> None:
    assert str(PAPER) == "Ada van Example, Bob Second. A Title: Of Things. JMLR, 2020. arXiv:2001.00001. doi:10.1/x."
    assert PAPER.bibtex.startswith("@misc{example2020,\n")
    assert "author = {Ada van Example and Bob Second}" in PAPER.bibtex
    assert "eprint = {2001.00001}" in PAPER.bibtex
    assert PAPER.bibtex.count("{") == PAPER.bibtex.count("}")


def test_facts_are_attached_to_the_object_that_was_decorated_and_to_no_other() -> None:
    facts = facts_of(DPS)
    assert (facts.name, facts.group) == ("DPS", "supervise")
    assert facts.summary.startswith("Train towards the mean of a Dirichlet belief")
    assert facts_of(CrossEntropy(2)).name == "CrossEntropy"  # an instance too

    class Undecorated(DPS):
        """Inherits everything but the facts."""

    with pytest.raises(TypeError, match="carries no facts"):
        facts_of(Undecorated)


def test_a_method_without_source_or_docstring_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one Reference"):
        method(cost="none")

    def silent() -> None: ...

    with pytest.raises(ValueError, match="needs a docstring"):
        method(PAPER, cost="none")(silent)


def test_decorating_changes_nothing_else() -> None:
    def square(x: float) -> float:
        """Return the square."""
        return x * x

    square.__module__ = "trueline.numerics._square"
    assert method(PAPER, cost="one product")(square) is square
    assert square(3.0) == 9.0
    assert facts_of(square).cost == "one product"


def test_a_missing_extra_is_named() -> None:
    with pytest.raises(ImportError, match=r"drawing needs nonesuch; install it with: pip install 'trueline\[report\]'"):
        import_optional("nonesuch.part", extra="report", purpose="drawing")


def test_the_report_says_which_extra_it_needs() -> None:
    program = (
        "import sys; sys.modules['altair'] = None\n"
        "import torch\n"
        "from trueline.measure import reliability\n"
        "record = reliability(torch.tensor([0, 1]), probs=torch.tensor([[0.9, 0.1], [0.2, 0.8]]))\n"
        "try:\n    record.plot()\nexcept ImportError as error:\n    print(error)"
    )
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert "trueline[report]" in output
