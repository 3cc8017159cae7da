"""What a report says of single images: intervals, classes and galleries."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from math import isnan
from statistics import mean

from ..comparison import Comparison
from ..images.galleries import Gallery
from ..images.results import ClassResults
from ..metrics import digits_of, short_name
from ..statistics import LEVEL, Interval, Summary

__all__ = [
    'class_heading',
    'class_tables',
    'gallery_heading',
    'interval_table',
    'method',
    'render_differences',
]

# Classes with the largest change that are shown first where there are many.
FIRST, MANY = 10, 20


def interval_table(comparison: Comparison) -> list[list[str]]:
    """A row for each group with a baseline: the intervals, and what each of them covers."""
    digits = digits_of(comparison.groups, comparison.metric)
    rows = [
        [
            'difference',
            'in the logs',
            f'{LEVEL:.0%} over seeds',
            'in the predictions',
            f'{LEVEL:.0%} over images',
            f'{LEVEL:.0%} over images and seeds',
        ]
    ]
    for claim in comparison.claims:
        images = claim.images
        logged = '-' if claim.difference is None else f'{claim.difference.mean:+.{digits}f}'
        if claim.interval:
            logged += f' ± {claim.difference.spread:.{digits}f}'
        rows.append(
            [
                f'{claim.label} - {claim.baseline}',
                logged,
                _ends(claim.interval, digits),
                '-' if images is None else f'{images.difference:+.{digits}f}',
                _ends(images and images.images, digits),
                _ends(images and images.both, digits),
            ]
        )
    return rows


def method(comparison: Comparison) -> str:
    """How the intervals were made, and what they do not cover."""
    found = [claim.images for claim in comparison.claims if claim.images]
    if not found and comparison.predictions and not comparison.predictions.resamples:
        return (
            'As requested, images were not resampled, so the choice of evaluation images is not '
            'part of the interval.'
        )
    if not found:
        return (
            'Logs hold no results of single images, so the choice of evaluation images is not '
            'part of the interval; with predictions of both groups it is (--test makes them).'
        )
    images, resamples = found[0].count, found[0].images.resamples
    return (
        f'The interval over seeds alone takes the images as they are. The others come from the '
        f'predictions of {images:,} images: images are drawn with replacement {resamples:,} times, '
        'the same draws for all runs, and for the interval over images and seeds the seeds are '
        'drawn too, both runs of a seed together. A gain or loss is claimed only where both the '
        'interval over seeds and the one over images and seeds exclude zero.'
    )


def class_tables(comparison: Comparison) -> list[list[list[str]]]:
    """The metric of each class from the predictions, mean and spread over the seeds.

    Returns:
        list[list[list[str]]]: No table without predictions of two groups that are compared; one
        of all classes by the size of their change; with many classes one of the first ten, then
        one of all in the order of the data set.
    """
    predictions = comparison.predictions
    pairs = {group.label: comparison.pairs(group.label) for group, _ in comparison.compared}
    pairs = {label: found for label, found in pairs.items() if found}
    if not pairs:
        return []
    groups = {
        group.label: [found.by_class() for found in predictions.of(group.usable).values()]
        for group in comparison.groups
    }
    groups = {label: found for label, found in groups.items() if found}
    first = next(iter(predictions.results.values()))
    digits = 2 if isinstance(first, ClassResults) else 3
    changes = {
        label: [(a.by_class(), b.by_class()) for a, b in found.values()]
        for label, found in pairs.items()
    }
    header = [
        'class',
        'images' if isinstance(first, ClassResults) else 'objects',
        *groups,
        *(f'{label} - {comparison.baselines[label].label}' for label in pairs),
    ]
    rows = []
    for name, number in first.counts().items():
        moved = [mean(b[name] - a[name] for a, b in moves) for moves in changes.values()]
        if any(map(isnan, moved)):
            continue
        rows.append(
            (
                max(map(abs, moved)),
                [
                    name,
                    f'{number:,}',
                    *(
                        _spread([values[name] for values in found], digits)
                        for found in groups.values()
                    ),
                    *(f'{value:+.{digits}f}' for value in moved),
                ],
            )
        )
    ranked = [row for _, row in sorted(rows, key=lambda row: -row[0])]
    if len(rows) <= MANY:
        return [[header, *ranked]]
    return [[header, *ranked[:FIRST]], [header, *(row for _, row in rows)]]


def gallery_heading(gallery: Gallery) -> str:
    """Above a picture that :func:`draw_galleries` made."""
    return f'Where {gallery.baseline} and {gallery.label} differ most'


def render_differences(comparison: Comparison) -> str:
    """CSV, a row for each group with a baseline: differences, intervals and the verdict."""
    text = io.StringIO()
    names = ('seeds', 'images', 'images_and_seeds')
    rows = [
        [
            'group',
            'baseline',
            'metric',
            'verdict',
            'difference',
            'spread',
            'difference_of_predictions',
            *(f'over_{name}_{end}' for name in names for end in ('low', 'high', 'resamples')),
            'images',
            'seeds_of_predictions',
        ]
    ]
    for claim in comparison.claims:
        difference, images = claim.difference, claim.images
        row = [
            claim.label,
            claim.baseline,
            comparison.metric,
            claim.verdict,
            *(
                (difference.mean, difference.spread if claim.interval else '')
                if difference
                else ('', '')
            ),
            images.difference if images else '',
        ]
        for found in (claim.interval, images and images.images, images and images.both):
            row += [found.low, found.high, found.resamples] if found else [''] * 3
        rows.append(
            [
                *row,
                images.count if images else '',
                ' '.join(map(str, images.seeds)) if images else '',
            ]
        )
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue()


def class_heading(comparison: Comparison) -> str:
    """Of the tables that :func:`class_tables` makes."""
    return f'{short_name(comparison.metric)} of each class'


def _ends(interval: Interval | None, digits: int) -> str:
    return (
        '-' if interval is None else (f'{interval.low:+.{digits}f} to {interval.high:+.{digits}f}')
    )


def _spread(values: Sequence[float], digits: int) -> str:
    found = Summary(dict(enumerate(values)))
    return f'{found.mean:.{digits}f}' + (f' ± {found.spread:.{digits}f}' if len(values) > 1 else '')
