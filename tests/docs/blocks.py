"""The code blocks of a Markdown page, and what the page says of how they are tried.

Invisible to readers, a comment right before a block may say `<!-- not run: why -->` or, of commands that would take
long, `<!-- run with: --budget-seconds 5 -->`, which is put behind each `kshot` command. A paragraph of nothing but a
file's name in code right before a block makes the block that file.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

REPOSITORY = Path(__file__).parents[2]
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")),
    *(page for page in sorted((REPOSITORY / "docs").glob("*.md")) if page.name != "api.md"),  # which is generated
]


class Block(NamedTuple):
    """A fenced block of code."""

    language: str
    text: str
    line: int
    not_run: str | None
    """Why it is not run."""
    run_with: str
    """Options for its commands."""
    file: str | None
    """The file that it is."""


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page's text, in their order."""
    tokens = MarkdownIt().parse(page)
    return [_block(token, tokens[:place]) for place, token in enumerate(tokens) if token.type == "fence"]


def _block(fence: Token, before: Sequence[Token]) -> Block:
    comment = before[-1].content if before and before[-1].type == "html_block" else ""
    # A paragraph is three tokens: its opening, what is in it, its end.
    paragraph = before[-2].content if len(before) > 1 and before[-1].type == "paragraph_close" else ""
    named = re.fullmatch(r"`([\w./-]+\.\w+)`:?", paragraph)
    line = (fence.map or [0])[0] + 1
    return Block(
        language=fence.info.strip(),
        text=fence.content,
        line=line,
        not_run=_said(comment, "not run"),
        run_with=_said(comment, "run with") or "",
        file=named[1] if named else None,
    )


def _said(comment: str, what: str) -> str | None:
    found = re.search(rf"<!-- {what}: (.+?) -->", comment, re.DOTALL)
    return found[1] if found else None
