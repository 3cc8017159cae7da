"""The pages of the documentation, and the code on them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for page in [
        *ROOT.glob('*.md'),
        *ROOT.glob('docs/**/*.md'),
        *ROOT.glob('checkpoints/*.md'),
        *ROOT.glob('configs/**/*.md'),
    ]
    if page.is_file()
)
FENCED = re.compile(
    r'(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
INLINE = re.compile(r'(?<!`)`((?:python|pip|make|tools/[^\s`]+) [^`\n]+)`(?!`)')


@dataclass(frozen=True)
class Block:
    """A fenced block: a comment ``<!-- not run: REASON -->`` in front of it is its reason."""

    page: str
    language: str
    code: str
    reason: str | None
    line: int

    def __str__(self):
        return f'{self.page}:{self.line}'


def name_of(page):
    return str(page.relative_to(ROOT))


def blocks(page, language=None):
    """The fenced blocks of a page, of one language or of all."""
    page, text = ROOT / page, (ROOT / page).read_text()
    return [
        Block(name_of(page), m['language'], m['code'], m['reason'], text.count('\n', 0, m.end()))
        for m in FENCED.finditer(text)
        if language in (None, m['language'])
    ]


def code_blocks(page, language='python'):
    return [block.code for block in blocks(page, language)]


def inline_commands(page):
    """Commands with arguments in running text and in tables."""
    return INLINE.findall((ROOT / page).read_text())
