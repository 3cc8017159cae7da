"""Drawing some of many names, alike on every machine and in every version of Python."""

import hashlib
from collections.abc import Iterable

__all__ = ['draw']


def draw(names: Iterable[str], number: int, key: str) -> set[str]:
    """Draw without replacement: the names whose SHA-256, together with the key, is smallest.

    The draw depends neither on the order of the names nor on a generator of random numbers, and a
    name that comes or goes moves at most one other name. A file's suffix does not count, so that a
    copy of the images in another format is drawn alike.

    Args:
        names (Iterable[str]): Distinct names.
        number (int): How many to draw.
        key (str): The seed, and what is drawn: other keys give independent draws.

    Returns:
        set[str]: The drawn names.
    """

    def rank(name: str) -> tuple[bytes, str]:
        stem = name.rpartition('.')[0] or name
        return hashlib.sha256(f'{key}/{stem}'.encode()).digest(), name

    return set(sorted(names, key=rank)[:number])
