"""Whether runs were evaluated on the same data and classes."""

from collections import defaultdict
from pathlib import PurePosixPath
from typing import NamedTuple

from ..engine.config_text import evaluation_data
from ..engine.errors import UserError

__all__ = ['split_by_data']


class Data(NamedTuple):
    """What a run is evaluated on.

    Attributes:
        path (str): annotation file or folder; '' where the configuration does not say it.
        classes (int | None): how many the model tells apart.
    """

    path: str
    classes: int | None

    def __str__(self):
        classes = '' if self.classes is None else f', {self.classes} classes'
        return f'{self.path or "unknown data"}{classes}'

    def agrees(self, other):
        """Whether both may be the same: a path may begin further up on another machine."""
        parts = [PurePosixPath(data.path).parts[::-1] for data in (self, other)]
        return self.classes == other.classes and all(a == b for a, b in zip(*parts, strict=False))


def split_by_data(runs, baseline=()):
    """Keep the runs on one data set: that of the baseline, else that of the most runs.

    Args:
        runs (Sequence[Run]): in any order.
        baseline (Sequence[Run]): some of them, on one data set. Default: none.

    Returns:
        tuple[list[Run], list[str], str]: the runs that are kept, a sentence for each other, and
        the data in words.

    Raises:
        UserError: two data sets have as many runs.
    """
    found = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.work_dir):
        data = _data_of(run)
        found[next((known for known in found if known.agrees(data)), data)].append(run)
    most = max(map(len, found.values()))
    chosen = [
        data
        for data, group in found.items()
        if (set(baseline) & set(group) if baseline else len(group) == most)
    ]
    if len(chosen) > 1:
        raise UserError(
            'the runs were evaluated on different data: '
            + '; '.join(
                f'{data} ({", ".join(run.work_dir for run in found[data])})' for data in chosen
            )
            + '. Compare those of one data set at a time.'
        )
    kept = chosen[0]
    notes = [
        f'{run.work_dir}: it was evaluated on {data}, the others on {kept}.'
        for data, group in found.items()
        if data != kept
        for run in group
    ]
    return found[kept], notes, str(kept)


def _data_of(run):
    text = run.config_file.read_text(encoding='utf-8', errors='replace')
    counts = set(_numbers_of_classes(run.config.get('model')))
    return Data(evaluation_data(text) or '', max(counts, default=None))


def _numbers_of_classes(node):
    if isinstance(node, dict):
        if isinstance(node.get('num_classes'), int):
            yield node['num_classes']
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _numbers_of_classes(item)
