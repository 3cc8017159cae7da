"""A report as one HTML file, by a template and a style sheet that lie next to this file."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ...utils.python39 import zip_strict
from .blocks import Block

__all__ = ['render_html']

VERDICTS = {'gain': 'Gain', 'loss': 'Loss', 'not shown': 'Not shown', 'nothing': 'No claim'}

# A cell of figures, with unit, spread or interval, and what stands where there is none.
NUMBER = re.compile(r'[-+]?\d[^A-Za-z]{0,24}([MGKx]|to [-+\d.]+)?( \(.*\))?|NaN.*|-|not logged|')


def render_html(title: str, blocks: Sequence[Block], pictures: Mapping[str, bytes]) -> str:
    """Every text is escaped, pictures are part of the file.

    Args:
        title (str): Title of the page.
        blocks (Sequence[Block]): Its pieces.
        pictures (Mapping[str, bytes]): File name to a PNG.

    Returns:
        str: The page.
    """
    files = PackageLoader(__package__, '.')
    environment = Environment(loader=files, autoescape=True, undefined=StrictUndefined)
    environment.filters.update(
        breakable=_breakable, columns=_columns, figures=_figures, options=_options
    )
    style, _, _ = files.get_source(environment, 'report.css')
    return (
        environment.get_template('report.html.j2').render(
            title=title,
            style=Markup(style),
            blocks=blocks,
            verdicts=VERDICTS,
            anchors=_anchors(blocks),
            pictures={name: _picture(data) for name, data in pictures.items()},
        )
        + '\n'
    )


def _picture(data: bytes) -> dict[str, str | int]:
    # The size stands at a fixed place in a PNG; known beforehand, no text moves while it loads.
    width, height = struct.unpack('>II', data[16:24])
    return dict(
        url=f'data:image/png;base64,{base64.b64encode(data).decode()}', width=width, height=height
    )


def _anchors(blocks: Sequence[Block]) -> dict[int, tuple[str, str]]:
    """Place of a heading to its anchor and text; equal headings get anchors of their own."""
    anchors = {}
    for place, block in enumerate(blocks):
        if block.kind == 'heading':
            name = re.sub(r'\W+', '-', block.content.lower()).strip('-') or 'part'
            taken = {anchor for anchor, _ in anchors.values()}
            anchors[place] = (f'{name}-{place}' if name in taken else name), block.content
    return anchors


def _breakable(text: str) -> Markup:
    """The text, escaped, which may be broken within a path or a dotted key but not in DN-B."""
    parts = re.split(r'(?<=\w[/._])(?=[A-Za-z]\w)|(?<=/)(?=\d)', text)
    return Markup('<wbr>').join(_whole(part, r'\bDN-\w') for part in parts)


def _options(text: str) -> Markup:
    """A command, escaped, none of whose options is broken at a hyphen."""
    return _whole(text, r'(?<!\S)--[\w-]+')


def _figures(text: str) -> Markup:
    """Figures, escaped, and what is said of them in brackets on a line of its own."""
    number, bracket, rest = text.partition(' (')
    return (
        escape(number) + Markup('<small>{}</small>').format(bracket[1:] + rest)
        if (bracket and number)
        else escape(text)
    )


def _whole(text: str, pattern: str) -> Markup:
    """The text, escaped, which is not broken where it matches."""
    parts = re.split(f'({pattern})', text)
    return Markup('').join(
        Markup('<span class="whole">{}</span>').format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """A class for each column: those of figures are aligned by their last digit."""
    return [
        'number'
        if place
        and any(cell[-1:].isdigit() or cell[:1].isdigit() for cell in cells)
        and all(NUMBER.fullmatch(cell) for cell in cells)
        else ''
        for place, (_, *cells) in enumerate(zip_strict(*rows))
    ]
