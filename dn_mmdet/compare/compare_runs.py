"""What tools/analysis_tools/compare.py does: read, judge, draw and write."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ..engine.atomic import atomic_write
from ..engine.errors import UserError
from .blocks import report_blocks, report_title
from .comparison import Comparison, compare_folders
from .galleries import draw_galleries
from .image_blocks import render_differences
from .image_bootstrap import IMAGE_RESAMPLES
from .pictures import draw_loss, draw_metric
from .predictions import add_predictions
from .report_html import render_html
from .report_text import render_csv, render_markdown
from .sizes import count_sizes

__all__ = ['compare_runs']

CURVE, LOSS = 'metric_vs_epoch.png', 'loss_vs_iteration.png'


def compare_runs(
    work_dirs: Sequence[str | os.PathLike],
    out: str | os.PathLike = 'work_dirs/compare',
    metric: str | None = None,
    baseline: str | None = None,
    failed: Mapping[str, str] | None = None,
    predictions: bool = True,
    resamples: int = IMAGE_RESAMPLES,
    test: bool = False,
) -> Comparison:
    """Compare runs by logs and predictions, print what may be said and write a report.

    Args:
        work_dirs (Sequence[str | PathLike]): folders of ``tools/train.py``, in any order.
        out (str | PathLike): folder of ``compare.html``, which needs no other file,
            ``compare.md``, ``compare.csv`` of the runs, ``differences.csv`` of what they were
            compared by, and the pictures. Default: 'work_dirs/compare'.
        metric (str, optional): what decides, as 'coco/bbox_mAP_50' or 'mAP_50'. Default: COCO's
            mAP, or top-1 accuracy.
        baseline (str, optional): a norm, a label of the report or a work folder. Default: of each
            group the BN group that differs least from it.
        failed (Mapping[str, str], optional): work folder of each run that could not be trained
            to its end to the reason, for the report.
        predictions (bool): use the prediction files in the work folders: ``predictions.pkl``,
            else the newest pickle. Default: True.
        resamples (int): draws of images for the intervals from predictions, see
            :func:`resampled_values` for what they cost; 0 for none. Default: 1,000.
        test (bool): first make the prediction files that are missing or older than the last
            checkpoint, see :func:`make_predictions`. Default: False.

    Returns:
        Comparison: what the report tells.

    Raises:
        UserError: fewer than two comparable groups of runs, no common metric, or ``out`` cannot
            be written.
    """
    comparison = compare_folders(work_dirs, metric, baseline)
    told = [*comparison.left_out, *comparison.notes]
    comparison.notes.extend(
        f'{folder}: {reason}'
        for folder, reason in (failed or {}).items()
        if not any(text.startswith(folder) for text in told)
    )
    if predictions:
        comparison = add_predictions(comparison, resamples, test)
    sizes, notes = count_sizes(comparison.groups)
    comparison.notes.extend(notes)
    try:
        files = _files(comparison, sizes)
        for name, content in files.items():
            with atomic_write(Path(out) / name) as file:
                file.write(content)
    except OSError as error:
        raise UserError(
            f'the report cannot be written to {out} ({error.strerror}: '
            f'{error.filename or out}): choose another folder with --out.'
        ) from error
    for text in (*comparison.warnings, *(claim.sentence for claim in comparison.claims)):
        print(text)
    for text in (
        *comparison.left_out,
        *(comparison.predictions.left_out if comparison.predictions else ()),
    ):
        print(f'left out: {text}')
    print(f'In {out}/: {", ".join(sorted(files))}')
    return comparison


def _files(comparison: Comparison, sizes: dict) -> dict[str, bytes]:
    """File name to what goes into it."""
    with TemporaryDirectory() as folder:
        draw_metric(comparison, Path(folder) / CURVE)
        window = draw_loss(comparison, Path(folder) / LOSS)
        galleries = draw_galleries(comparison, Path(folder)) if comparison.predictions else []
        pictures = {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}
    blocks = report_blocks(comparison, sizes, CURVE, LOSS if window else None, window, galleries)
    title = report_title(comparison)
    return {
        **pictures,
        'compare.csv': render_csv(comparison, sizes).encode(),
        'differences.csv': render_differences(comparison).encode(),
        'compare.md': render_markdown(title, blocks).encode(),
        'compare.html': render_html(title, blocks, pictures).encode(),
    }
