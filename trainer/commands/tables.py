"""Tables on the terminal, alike in all commands."""

from collections.abc import Collection, Iterable, Sequence

from rich.table import Table
from rich.text import Text


def table(
    title: str, headings: Sequence[str], *sections: Iterable[Sequence[str]], left: Collection[int] = (0,)
) -> Table:
    """A table of text as it is, without markup.

    Args:
        sections: rows, each group of them under a line.
        left: columns of words, which begin at the left; figures end at the right.
    """
    made = Table(title=Text(title), title_justify="left", caption_justify="left")
    for index, heading in enumerate(headings):
        made.add_column(Text(heading), justify="left" if index in left else "right", overflow="fold")
    for rows in sections:
        for row in rows:
            made.add_row(*map(Text, row))
        made.add_section()
    return made
