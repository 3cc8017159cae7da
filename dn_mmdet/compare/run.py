"""What tools/analysis_tools/compare.py does: read, judge, draw and write."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..runs import Training, run_all
from ..utils.errors import UserError
from ..utils.files import atomic_write, check_output_folder
from .comparison import Comparison, compare_folders
from .images.galleries import draw_galleries
from .images.intervals import IMAGE_RESAMPLES
from .report.blocks import report_blocks, report_title
from .report.curves import draw_loss, draw_metric
from .report.html import render_html
from .report.image_tables import render_differences
from .report.tables import Sizes, count_sizes
from .report.text import render_csv, render_markdown

__all__ = ['compare_configs', 'compare_runs', 'train_missing']

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
    """Compare runs by logs and predictions, print what can be claimed and write a report.

    Args:
        work_dirs (Sequence[str | PathLike]): Folders of ``tools/train.py``, in any order.
        out (str | PathLike): Folder of ``compare.html``, which needs no other file,
            ``compare.md``, ``compare.csv`` of the runs, ``differences.csv`` of the
            differences between them, and the pictures. Defaults to 'work_dirs/compare'.
        metric (str, optional): The metric to compare by, such as 'coco/bbox_mAP_50' or
            'mAP_50'. Defaults to COCO's mAP, or top-1 accuracy.
        baseline (str, optional): A norm, a label of the report or a work folder. Defaults to a
            baseline for each group, the BN group that differs least from it.
        failed (Mapping[str, str], optional): Work folder of each run that could not be trained
            to its end to the reason, for the report.
        predictions (bool): Whether to use the prediction files in the work folders:
            ``predictions.pkl``, else the newest pickle. Defaults to True.
        resamples (int): Draws of images for the intervals from predictions, see
            :func:`resampled_values` for what they cost; 0 for none. Defaults to 1,000.
        test (bool): Whether to first make the prediction files that are missing or older than the
            last checkpoint, see :func:`make_predictions`. Defaults to False.

    Returns:
        Comparison: The content of the report.

    Raises:
        UserError: Fewer than two comparable groups of runs, no common metric, or ``out`` cannot
            be written.
    """
    check_output_folder(out, '--out')
    comparison = compare_folders(
        work_dirs, metric, baseline, failed or {}, predictions, resamples, test
    )
    sizes, uncounted = count_sizes(comparison.groups)
    try:
        files = _files(comparison, sizes, uncounted)
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
    unused = comparison.predictions.left_out if comparison.predictions else ()
    for text in comparison.left_out:
        print(f'left out: {text}')
    for text in unused:
        print(f'predictions not used: {text}')
    print(f'Written to {out}/: {", ".join(sorted(files))}')
    return comparison


def _files(comparison: Comparison, sizes: Sizes, uncounted: Sequence[str]) -> dict[str, bytes]:
    """File name to what goes into it."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        draw_metric(comparison, folder / CURVE)
        window = draw_loss(comparison, folder / LOSS)
        galleries = (
            draw_galleries(comparison.predictions, comparison.compared, folder)
            if comparison.predictions
            else []
        )
        pictures = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
    title = report_title(comparison)
    blocks = report_blocks(
        comparison, sizes, uncounted, CURVE, LOSS if window else None, window, galleries
    )
    return {
        **pictures,
        'compare.csv': render_csv(comparison, sizes).encode(),
        'differences.csv': render_differences(comparison).encode(),
        'compare.md': render_markdown(title, blocks).encode(),
        'compare.html': render_html(title, blocks, pictures).encode(),
    }


def compare_configs(
    configs: Sequence[str | os.PathLike],
    seeds: Sequence[int] = (0, 1, 2),
    work_root: str | os.PathLike = 'work_dirs/compare',
    workers: int | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    **report: Any,
) -> Comparison:
    """Train what is missing, seed by seed, each run in a process of its own; then compare.

    If interrupted, the same call continues: finished runs stay, the others resume at their last
    epoch.

    Args:
        configs (Sequence[str | PathLike]): Two or more, with distinct file names.
        seeds (Sequence[int]): Of ``randomness``. Defaults to (0, 1, 2).
        work_root (str | PathLike): A run is in ``<configuration's name>/seed_<seed>`` of it; one
            of another configuration or data is set aside there. Defaults to 'work_dirs/compare'.
        workers (int, optional): Runs at a time. Defaults to one for each core, with a GPU to 1.
        cfg_options (Mapping[str, Any], optional): Settings of every run, dotted key to value.
        **report (Any): ``out``, ``metric`` and further arguments of :func:`compare_runs`; ``test``
            defaults to True, as the data is here.

    Returns:
        Comparison: The content of the report.

    Raises:
        UserError: A configuration cannot be read, or too few runs can be compared.
        KeyboardInterrupt: The message says how to continue.
    """
    check_output_folder(work_root, '--work-root')
    configs = [Path(config) for config in configs]
    if len(configs) < 2:
        raise UserError(
            'a comparison needs two configurations, but only one is given: add another.'
        )
    twice = [name for name, count in Counter(c.stem for c in configs).items() if count > 1]
    if twice:
        raise UserError(
            f'two configurations are named {twice[0]}, so their folders would collide: rename one.'
        )
    trainings = [
        Training(
            f'{config.stem}, seed {seed}',
            config,
            Path(work_root) / config.stem / f'seed_{seed}',
            seed,
            cost=300.0,
            options=dict(cfg_options or {}),
        )
        for seed in dict.fromkeys(seeds)
        for config in configs
    ]
    failed = train_missing(trainings, workers)
    return compare_runs(
        [training.work_dir for training in trainings], failed=failed, **{'test': True, **report}
    )


def train_missing(trainings: Sequence[Training], workers: int | None = None) -> dict[str, str]:
    """Train what is not whole yet, several at a time.

    A run that diverged is a result: it is not tried again, and a run that fails does not stop the
    others.

    Args:
        trainings (Sequence[Training]): In this order where those that they start from allow it.
        workers (int, optional): Runs at a time. Defaults to one for each core, with a GPU to 1.

    Returns:
        dict[str, str]: Work folder of each run without a whole result to the reason.

    Raises:
        UserError: A configuration cannot be read.
        KeyboardInterrupt: The message says how to continue.
    """
    try:
        failed = run_all(trainings, workers)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            'the same command resumes each run from its last checkpoint'
        ) from None
    return {
        str(training.work_dir): failed[training.name]
        for training in trainings
        if training.name in failed
    }
