"""One look: every picture is made and written by the same two functions."""

import ast
import re
from pathlib import Path

import matplotlib
import pytest

from dn_mmdet.figures.style import COLORS, STYLES, line_style, new_figure, save_figure

PACKAGE = Path(__file__).parents[2] / 'dn_mmdet'


@pytest.mark.parametrize(
    'suffix, start', [('png', b'\x89PNG'), ('svg', b'<?xml'), ('pdf', b'%PDF')]
)
def test_the_suffix_says_the_format(tmp_path, suffix, start):
    figure = new_figure(2, 1)
    figure.add_subplot().plot([1, 2])
    save_figure(figure, tmp_path / f'made/picture.{suffix}')
    assert (tmp_path / f'made/picture.{suffix}').read_bytes().startswith(start)


def test_a_picture_that_breaks_off_keeps_the_old_one(tmp_path):
    (tmp_path / 'picture.png').write_text('old')
    figure = new_figure(2, 1)
    figure.savefig = lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        save_figure(figure, tmp_path / 'picture.png')
    assert [file.read_text() for file in tmp_path.iterdir()] == ['old']


def test_the_backend_of_the_user_stays(monkeypatch, tmp_path):
    monkeypatch.setitem(matplotlib.rcParams, 'backend', 'svg')
    save_figure(new_figure(2, 1), tmp_path / 'picture.png')
    assert matplotlib.rcParams['backend'] == 'svg'


def test_more_lines_than_colors_are_distinct():
    count = len(STYLES)
    styles = [line_style(number) for number in range(count**2)]
    assert styles[:count] == list(STYLES) and len(set(styles)) == len(styles)


def test_styles_are_distinct_without_color_too():
    assert len(set(COLORS)) == len(COLORS) == 10
    assert len({(marker, line) for _, marker, line in STYLES}) == len(STYLES)
    assert all(re.fullmatch('#[0-9a-f]{6}', color) for color in COLORS)


def test_no_other_file_makes_a_figure():
    """matplotlib is imported where figures are made, elsewhere for its ticks and types alone."""
    makers = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob('*.py')
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8')))
        if isinstance(node, ast.ImportFrom)
        and (node.module or '').startswith(('matplotlib.backends', 'matplotlib.pyplot'))
        or isinstance(node, ast.Import)
        and any(alias.name.startswith('matplotlib') for alias in node.names)
        or isinstance(node, ast.Attribute)
        and node.attr == 'savefig'
    }
    assert makers == {'figures/style.py'}
