"""A report as Markdown, and its runs as CSV."""

import csv
import io
import re
from collections.abc import Sequence

from ...utils.text import markdown_table
from ..comparison import Comparison
from .blocks import Block
from .tables import Sizes

__all__ = ['render_csv', 'render_markdown']


def render_markdown(title: str, blocks: Sequence[Block]) -> str:
    """The report without the full configurations; pictures are files next to it.

    Args:
        title (str): Its heading.
        blocks (Sequence[Block]): Its pieces.
    """
    return (
        '\n\n'.join(
            [
                f'# {_escape(title)}',
                *(_BLOCKS[block.kind](block) for block in blocks if block.kind in _BLOCKS),
            ]
        )
        + '\n'
    )


def render_csv(comparison: Comparison, sizes: Sizes) -> str:
    """A row for each run, with every metric of its last evaluation under the name of the log.

    Args:
        comparison (Comparison): Whose runs.
        sizes (Mapping[str, Complexity]): By label.
    """
    metrics = sorted({name for run in comparison.runs for name in run.metrics})
    rows = [
        [
            'group',
            'module',
            'r',
            'g',
            'seed',
            'status',
            f'{comparison.unit}s',
            'planned',
            'params',
            'mult_adds',
            *metrics,
            'seconds_per_iteration',
            'memory_mb',
            'config',
            'work_dir',
        ]
    ]
    for group in comparison.groups:
        size = sizes.get(group.label)
        for run in group.runs:
            norm = run.norm
            status = 'diverged' if run.diverged else 'finished' if run.finished else 'unfinished'
            rows.append(
                [
                    group.label,
                    norm.name,
                    norm.r,
                    norm.g,
                    run.seed,
                    status,
                    run.last,
                    run.planned,
                    *((size.params, size.mult_adds) if size else ('', '')),
                    *(run.value(name) for name in metrics),
                    run.typical('time'),
                    run.typical('memory'),
                    run.config_file,
                    run.work_dir,
                ]
            )
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue()


def _list(block: Block) -> str:
    return '\n'.join(f'- {_escape(text)}' for text in block.content)


def _table(block: Block) -> str:
    return markdown_table([[_escape(cell) for cell in row] for row in block.content])


def _escape(text: str) -> str:
    # What would be markup in a label or a path; a line break would end a table's row.
    return re.sub(r'([\\`*<>|\[\]]|(?<!\w)_|_(?!\w))', r'\\\1', ' '.join(text.split()))


_BLOCKS = {
    'heading': lambda block: f'## {_escape(block.content)}',
    'text': lambda block: _escape(block.content),
    'list': _list,
    'warning': lambda block: f'**{block.title}**\n\n{_list(block)}',
    'claims': lambda block: '\n'.join(f'- {_escape(claim.sentence)}' for claim in block.content),
    'table': _table,
    'picture': lambda block: f'![{_escape(block.title)}]({block.content})',
    'code': lambda block: f'```bash\n{block.content}\n```',
}
