"""Parts of the documentation that a benchmark writes, between two marks; what stands around them is written by hand."""

from collections.abc import Iterable, Sequence

_END = "<!-- end of measured -->"


def renewed(text: str, program: str, measured: str) -> str:
    """The page with what a program measured in the place of what it measured before.

    Raises:
        ValueError: the page has no place for it.
    """
    start = f"<!-- measured: written by {program} -->"
    before, found, rest = text.partition(start)
    _, ended, after = rest.partition(_END)
    if not (found and ended):
        raise ValueError(f"the page lacks {_END if found else start}; put both marks where the numbers go")
    return f"{before}{start}\n{measured.rstrip()}\n{_END}{after}"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
