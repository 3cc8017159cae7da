"""What the rows of finished detectors say: means, spreads, and differences to BN by seed."""

from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path

from ..compare.statistics import (
    Difference,
    Summary,
    chance_of_one_sign,
    compare,
)
from ..utils.files import write_text
from ..utils.text import markdown_table
from .measure import KEY
from .rows import Row

__all__ = ['write_rows_report']

BASELINE = 'bn'

# Columns that tell nothing of how well a detector does.
CIRCUMSTANCES = (*KEY, 'norm', 'seconds_per_step', 'revision', 'machine', 'diverged')
MEASURES = ('mAP', 'AP50', 'static_mAP', 'mPC', 'rPC')

Arms = Mapping[str, Sequence[Row]]


def write_rows_report(rows: Sequence[Row], file: Path, title: str, about: str) -> str:
    """Write the tables of all settings that rows were made with.

    Args:
        rows (Sequence[Row]): As :func:`.measure.train_and_measure` adds them.
        file (Path): The Markdown file.
        title (str): Of the report.
        about (str): The data and the recipe, in Markdown.

    Returns:
        str: What was written.
    """
    settings: dict[tuple, dict[str, list[Row]]] = {}
    for row in rows:
        setting = tuple(row[column] for column in KEY[2:])
        settings.setdefault(setting, {}).setdefault(row['arm'], []).append(row)
    parts = [
        f'# {title}\n',
        f'{about}\n',
        'A spread is the standard deviation over seeds; a difference to BN is paired by seed, its '
        'interval is a bootstrap over the seeds, and one within its spread is not counted. With '
        'few seeds an interval is short as soon as all differences have one sign, which happens by '
        f'chance in {chance_of_one_sign(3):.0%} of cases with three and '
        f'{chance_of_one_sign(5):.0%} with five.\n',
    ]
    for setting, arms in settings.items():
        parts += [f'## {_heading(setting)}\n', *_tables(arms)]
    made = dict.fromkeys((row['machine'], _code(row['revision'])) for row in rows)
    parts.append(
        'Made on '
        + '; '.join(
            f'{machine} (code {", ".join(code for other, code in made if other == machine)})'
            for machine in dict.fromkeys(machine for machine, _ in made)
        )
        + '.\n'
    )
    text = '\n'.join(parts)
    write_text(file, text)
    return text


def _code(revision: str) -> str:
    # What is behind the hash says that files had changed.
    commit, *more = revision.split('-', 1)
    return '-'.join([commit[:12], *more])


def _heading(setting: Sequence) -> str:
    epochs, lr, batch_size, weights, options = setting
    start = 'own pretraining' if weights == 'own' else f'from {weights or "no weights"}'
    more = f', {options}' if options else ''
    length = f'{epochs} epoch{"s" * (epochs != 1)}'
    return f'{length}, learning rate {lr}, {batch_size} images a step, {start}{more}'


def _tables(arms: Arms) -> list[str]:
    columns = [
        column
        for column in dict.fromkeys(name for rows in arms.values() for row in rows for name in row)
        if any(row.get(column) not in (None, '') for rows in arms.values() for row in rows)
    ]
    classes = [column for column in columns if column.startswith('AP ')]
    kinds = [c for c in columns if c not in (*CIRCUMSTANCES, *MEASURES, *classes)]
    parts = [_against_bn(arms, 'mAP', [c for c in columns if c == 'AP50'] + classes)]
    if 'static_mAP' in columns:
        parts += [
            'What is left with alpha and lambda of each layer held at their means over the tested '
            'images, and what they owe to being made for each image:\n',
            _static(arms),
        ]
    if 'mPC' in columns:
        parts += [
            'Under corruption: mean performance (mPC, mAP over all kinds and severities), relative '
            'to clean images (rPC), and by kind:\n',
            _against_bn(arms, 'mPC', ('rPC', *kinds)),
        ]
    return [f'{part}\n' if part.startswith('|') else part for part in parts]


def _against_bn(arms: Arms, column: str, further: Sequence[str]) -> str:
    """A column seed by seed and against BN, then the means of further ones."""
    seeds = sorted({row['seed'] for rows in arms.values() for row in rows})
    lines = [
        [
            'arm',
            'norm',
            *(f'{column if seed == seeds[0] else ""}, seed {seed}'.strip(', ') for seed in seeds),
            'mean ± spread',
            'difference to BN',
            '95% over seeds',
            'verdict',
            *further,
        ]
    ]
    baseline = _summary(arms.get(BASELINE, ()), column)
    for arm, rows in arms.items():
        found = _summary(rows, column)
        values = {seed: f'{value:.3f}' for seed, value in found.values.items()}
        values.update(dict.fromkeys(found.diverged, 'NaN'))
        lines.append(
            [
                arm,
                rows[0]['norm'],
                *(values.get(seed, '') for seed in seeds),
                _mean(found),
                *(['', '', ''] if arm == BASELINE else _difference(baseline, found)),
                *(_mean(_summary(rows, name)) for name in further),
            ]
        )
    return markdown_table(lines)


def _static(arms: Arms) -> str:
    lines = [['arm', 'mAP as trained', 'held at their means', 'owed to the image']]
    for arm, rows in arms.items():
        static = _summary(rows, 'static_mAP')
        if static.values:
            trained = _summary(rows, 'mAP')
            owed = compare(static, trained)
            lines.append([arm, _mean(trained), _mean(static), _signed(owed)])
    return markdown_table(lines)


def _difference(baseline: Summary, found: Summary) -> list[str]:
    difference = compare(baseline, found)
    if not difference.seeds:
        return ['', '', difference.verdict if found.diverged or baseline.diverged else '']
    interval = difference.interval
    ends = f'{interval.low:+.3f} to {interval.high:+.3f}' if interval else ''
    return [_signed(difference), ends, difference.verdict]


def _summary(rows: Iterable[Row], column: str) -> Summary:
    values = {row['seed']: row.get(column) for row in rows}
    return Summary(
        {seed: value for seed, value in values.items() if value is not None},
        tuple(row['seed'] for row in rows if row.get('diverged')),
    )


def _mean(found: Summary) -> str:
    if not found.values:
        return 'NaN' if found.diverged else ''
    spread = f' ± {found.spread:.3f}' if len(found.values) > 1 else ''
    return f'{found.mean:.3f}{spread}'


def _signed(difference: Difference) -> str:
    if isnan(difference.mean):
        return ''
    spread = '' if difference.verdict == 'one seed' else f' ± {difference.spread:.3f}'
    mean = round(difference.mean, 3) + 0.0  # never -0
    return f'{mean:+.3f}{spread}'
