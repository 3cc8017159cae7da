"""What tools/analysis_tools/compare.py does: read, judge, draw and write."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ..engine.atomic import atomic_write
from ..engine.errors import UserError
from .blocks import report_blocks, report_title
from .comparison import Comparison, compare_folders
from .pictures import draw_loss, draw_metric
from .report_html import render_html
from .report_text import render_csv, render_markdown
from .sizes import count_sizes

__all__ = ['compare_runs']

CURVE, LOSS = 'metric_vs_epoch.png', 'loss_vs_iteration.png'


def compare_runs(work_dirs: Sequence[str | os.PathLike],
                 out: str | os.PathLike = 'work_dirs/compare',
                 metric: str | None = None,
                 baseline: str | None = None) -> Comparison:
    """Compare runs by their logs, print what may be said and write a report.

    Args:
        work_dirs (Sequence[str | PathLike]): folders of ``tools/train.py``, in any order.
        out (str | PathLike): folder of ``compare.html``, which needs no other file,
            ``compare.md``, ``compare.csv`` and two pictures. Default: 'work_dirs/compare'.
        metric (str, optional): what decides, as 'coco/bbox_mAP_50' or 'mAP_50'. Default: COCO's
            mAP, or top-1 accuracy.
        baseline (str, optional): a norm, a label of the report or a work folder. Default: of each
            group the BN group that differs least from it.

    Returns:
        Comparison: what the report tells.

    Raises:
        UserError: fewer than two comparable groups of runs, no common metric, or ``out`` cannot
            be written.
    """
    comparison = compare_folders(work_dirs, metric, baseline)
    sizes, notes = count_sizes(comparison.groups)
    comparison.notes.extend(notes)
    try:
        files = _files(comparison, sizes)
        for name, content in files.items():
            with atomic_write(Path(out) / name) as file:
                file.write(content)
    except OSError as error:
        raise UserError(f'the report cannot be written to {out} ({error.strerror}: '
                        f'{error.filename or out}): choose another folder with --out.') from error
    for text in (*comparison.warnings, *(claim.sentence for claim in comparison.claims)):
        print(text)
    for text in comparison.left_out:
        print(f'left out: {text}')
    print(f'In {out}/: {", ".join(sorted(files))}')
    return comparison


def _files(comparison: Comparison, sizes: dict) -> dict[str, bytes]:
    """File name to what goes into it."""
    with TemporaryDirectory() as folder:
        draw_metric(comparison, Path(folder) / CURVE)
        window = draw_loss(comparison, Path(folder) / LOSS)
        pictures = {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}
    blocks = report_blocks(comparison, sizes, CURVE, LOSS if window else None, window)
    title = report_title(comparison)
    return {**pictures, 'compare.csv': render_csv(comparison, sizes).encode(),
            'compare.md': render_markdown(title, blocks).encode(),
            'compare.html': render_html(title, blocks, pictures).encode()}
