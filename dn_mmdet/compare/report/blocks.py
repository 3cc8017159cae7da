"""What a report says and in which order, before it is HTML or Markdown."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from ...runs.config import is_expected
from ...runs.run import Run
from ..claims import Claim
from ..comparison import Comparison
from ..images.galleries import Gallery
from ..images.intervals import IMAGE_RESAMPLES
from ..metrics import short_name
from . import image_tables, tables

__all__ = ['Block', 'report_blocks', 'report_title']


class Block(NamedTuple):
    """A piece of a report.

    Attributes:
        kind (str): 'heading', 'text', 'list', 'warning' (a list), 'claims' (a list of
            :class:`Claim`), 'table' (rows of texts, the header first), 'picture' (a file name),
            'code' or 'details' (a text that is folded away).
        content (Any): What the kind says.
        title (str): Of a picture, of a warning, of folded text. Defaults to ''.
    """

    kind: str
    content: str | Sequence[str] | Sequence[Sequence[str]] | Sequence[Claim]
    title: str = ''


def report_title(comparison: Comparison) -> str:
    """One line that names the groups, as far as it has room, the metric and the data."""
    labels = [group.label for group in comparison.groups]
    if len(labels) > 3:
        labels = [f'{labels[0]} and {len(labels) - 1} others']
    return f'{", ".join(labels)}: {short_name(comparison.metric)} on {comparison.data}'


def report_blocks(
    comparison: Comparison,
    sizes: tables.Sizes,
    uncounted: Sequence[str],
    curve: str,
    loss: str | None,
    window: int,
    galleries: Sequence[Gallery] = (),
) -> list[Block]:
    """All pieces of the report.

    Args:
        comparison (Comparison): What is told.
        sizes (Mapping[str, Complexity]): By label.
        uncounted (Sequence[str]): Why some sizes are not there.
        curve (str): File name of the picture of the metric.
        loss (str, optional): File name of the picture of the loss; None where none was logged.
        window (int): Logged values that a point of the latter averages.
        galleries (Sequence[Gallery]): Pictures of single images. Defaults to none.
    """
    name = short_name(comparison.metric)
    blocks = []
    if comparison.warnings:
        blocks += [Block('warning', comparison.warnings, 'These runs differ in more than the norm')]
    blocks += [
        Block('heading', 'What can be claimed'),
        Block('claims', comparison.claims),
        Block('table', image_tables.interval_table(comparison)),
        Block('text', _method(comparison)),
        Block('list', _differ_in(comparison)),
    ]
    if comparison.left_out:
        blocks += [Block('heading', 'Not compared'), Block('list', comparison.left_out)]
    if comparison.predictions and comparison.predictions.left_out:
        blocks += [
            Block('heading', 'Predictions not used'),
            Block('list', comparison.predictions.left_out),
        ]
    if notes := (*comparison.notes, *uncounted):
        blocks += [Block('heading', 'Notes on these runs'), Block('list', notes)]
    blocks += [
        Block('heading', 'Models and metrics'),
        Block('table', tables.module_table(comparison, sizes)),
        Block(
            'text',
            'Mean ± sample standard deviation over the seeds. #p and Mult-Adds are '
            'counted from the configuration: convolutions, fully connected layers and '
            'matrix products, without biases.',
        ),
        Block('heading', f'{name} against {comparison.unit}'),
        Block(
            'picture',
            curve,
            f'{name} against {comparison.unit}; the band is the range over the seeds',
        ),
        Block('heading', f'{name} of every seed'),
        Block('table', tables.seed_table(comparison)),
    ]
    classes = tables.class_table(comparison)
    predicted = image_tables.class_tables(comparison)
    if predicted and not classes:
        blocks.append(Block('heading', image_tables.class_heading(comparison)))
        blocks += [Block('table', rows) for rows in predicted]
        blocks.append(
            Block(
                'text',
                'From the predictions of the last checkpoints, largest change first'
                + (', then all.' if len(predicted) > 1 else '.'),
            )
        )
    elif classes or comparison.metric.startswith('coco/'):
        blocks += [
            Block('heading', 'Average precision of each class'),
            Block('table', classes)
            if classes
            else Block(
                'text',
                'Not logged by every run: val_evaluator.classwise=True makes CocoMetric log it.',
            ),
        ]
    for gallery in galleries:
        blocks += [
            Block('heading', image_tables.gallery_heading(gallery)),
            Block('picture', gallery.file, gallery.title),
            Block('text', gallery.counts),
        ]
    if loss:
        smoothed = f'mean of up to {window} logged values' if window > 1 else 'as logged'
        blocks += [
            Block('heading', 'Training loss'),
            Block(
                'picture',
                loss,
                f'Training loss against iteration, {smoothed}; the band is the range '
                'over the seeds',
            ),
        ]
    blocks += [
        Block('heading', 'Time and memory of a training iteration'),
        Block('table', tables.time_table(comparison)),
        Block(
            'text',
            'Medians of the logged values. They compare models only if each run had the same '
            'machine to itself.',
        ),
        Block('heading', 'Configurations'),
    ]
    for group, _ in comparison.compared:
        if comparison.differences(group):
            blocks += [Block('table', tables.difference_table(comparison, group))]
    blocks += [
        Block(
            'details',
            group.first.config_text,
            f'{group.label}: {group.first.config_file}',
        )
        for group in comparison.groups
    ]
    return [
        *blocks,
        Block('heading', 'Versions'),
        Block('table', tables.version_table(comparison)),
        Block('heading', 'Commands'),
        Block(
            'text',
            'To repeat each run, from the configuration saved with its log, and this report.',
        ),
        Block(
            'code', '\n'.join([*map(_train_command, comparison.runs), _compare_command(comparison)])
        ),
    ]


def _method(comparison: Comparison) -> str:
    when = (
        'Measured at the last evaluation of each run, not at its best one, which would be chosen '
        'by the very metric that judges it'
        if comparison.step is None
        else f'Not all runs are finished: measured at {comparison.unit} {comparison.step}, the '
        'last that all of them have evaluated'
    )
    return (
        f'{when}. Differences are taken seed by seed; the spread is their sample standard '
        'deviation over the seeds, the interval a percentile bootstrap over the seeds. '
        f'{image_tables.method(comparison)}'
    )


def _differ_in(comparison: Comparison) -> list[str]:
    sentences = []
    for group, baseline in comparison.compared:
        keys = [d.key for d in sorted(comparison.differences(group), key=is_expected)]
        sentences.append(
            f'{baseline.label} and {group.label} differ in: {", ".join(keys) or "nothing"}.'
        )
    return sentences


def _train_command(run: Run) -> str:
    config, folder = (
        shlex.quote(str(path)) for path in (run.config_file, f'{run.work_dir.rstrip("/")}_again')
    )
    gpus = run.environment.get('GPU number', '1')
    start = (
        f'tools/dist_train.sh {config} {gpus}' if gpus != '1' else f'python tools/train.py {config}'
    )
    return f'{start} --work-dir {folder} --cfg-options randomness.seed={run.seed}'


def _compare_command(comparison: Comparison) -> str:
    folders = ' '.join(shlex.quote(run.work_dir) for run in comparison.runs)
    names = {baseline.label for baseline in comparison.baselines.values()}
    baseline = f' --baseline {shlex.quote(*names)}' if len(names) == 1 else ''
    return (
        f'python tools/analysis_tools/compare.py {folders} --metric '
        f'{shlex.quote(comparison.metric)}{baseline}{_options(comparison)}'
    )


def _options(comparison: Comparison) -> str:
    """What of the predictions was asked for otherwise than by default."""
    if comparison.predictions is None:
        return ' --no-predictions'
    resamples = comparison.predictions.resamples
    return '' if resamples == IMAGE_RESAMPLES else f' --resamples {resamples}'
