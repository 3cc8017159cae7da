"""The classes: the 1000 synsets of ILSVRC-2012, our draw of 100, and lists of the user's own."""

import re
from pathlib import Path

from ...utils.errors import UserError
from ...utils.text import first_few
from .lists import draw

__all__ = ['NAMED', 'SHIPPED', 'draw_classes', 'ilsvrc2012_synsets', 'read_synsets']

# The classes that the paper names; it does not list the others.
NAMED = ('n11939491', 'n01770081', 'n03179701', 'n02088466')
SHIPPED = Path(__file__).with_name('classes.txt')
_ALL = Path(__file__).with_name('ilsvrc2012_synsets.txt')


def draw_classes(seed: int = 0) -> list[str]:
    """Draw 100 of the 1000 synsets of ILSVRC-2012, the paper's four named ones among them.

    Args:
        seed (int): Seed of the draw. Defaults to 0: the list that is shipped, ``classes.txt``.

    Returns:
        list[str]: 100 synset ids, sorted.
    """
    others = set(ilsvrc2012_synsets()) - set(NAMED)
    return sorted({*NAMED, *draw(others, 100 - len(NAMED), f'{seed}/classes')})


def ilsvrc2012_synsets() -> list[str]:
    """The 1000 synset ids in sorted order, in which Caffe's and most others' labels count."""
    return _ALL.read_text(encoding='ascii').split()


def read_synsets(path: Path = SHIPPED) -> list[str]:
    """Read a class list: a synset id a line; what follows it, empty lines and # do not count.

    Args:
        path (Path): Text file. Defaults to the shipped list.

    Returns:
        list[str]: The synset ids, sorted as a folder of class folders would be.

    Raises:
        UserError: There is no such file, or it holds another thing than distinct synset ids.
    """
    try:
        text = path.read_text(encoding='utf-8', errors='replace')
    except OSError as error:
        raise UserError(
            f'The class list {path} cannot be read: {error.strerror}; give a file with '
            'one synset id a line with --classes, or leave it out.'
        ) from error
    classes: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition('#')[0].split()
        if not words:
            continue
        if not re.fullmatch(r'n\d{8}', words[0]):
            raise UserError(
                f'{path}, line {number}: {words[0]!r} is no synset id; each line must '
                'begin with one, such as n01440764.'
            )
        classes.append(words[0])
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise UserError(
            f'{len(twice)} synset ids occur more than once in {path}: {first_few(twice)}; '
            'keep one line of each.'
        )
    if len(classes) < 2:
        raise UserError(f'{path} lists {len(classes)} classes; a classifier needs 2 or more.')
    return sorted(classes)
