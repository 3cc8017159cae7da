"""A report as one HTML file."""

import base64
from collections.abc import Mapping, Sequence

from .blocks import Block
from .page import PAGE

__all__ = ['render_html']


def render_html(title: str, blocks: Sequence[Block], pictures: Mapping[str, bytes]) -> str:
    """Every text is escaped, pictures are part of the file.

    Args:
        title (str): of the page.
        blocks (Sequence[Block]): its pieces.
        pictures (Mapping[str, bytes]): file name to a PNG.

    Returns:
        str: the page.
    """
    from jinja2 import Environment, StrictUndefined  # torch brings it along

    inline = {name: f'data:image/png;base64,{base64.b64encode(data).decode()}'
              for name, data in pictures.items()}
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(PAGE)
    return page.render(title=title, blocks=blocks, pictures=inline) + '\n'
