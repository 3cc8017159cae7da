"""The paper's claims next to what the cells say of them."""

from collections.abc import Iterator, Sequence

from ...compare.statistics import Difference, compare, summarize
from .cells import BASE_BATCH, BASE_LR, PAPER, TEST_BATCHES, AblationCell, Tables
from .results import AblationResults

__all__ = ['paper_claims']

NOT_MEASURED = 'not measured'


def paper_claims(results: AblationResults, tables: Tables) -> list[str]:
    """Judge each claim by the finished cells.

    Args:
        results (AblationResults): Finished cells.
        tables (Tables): What :func:`.cells.plan` returns, less the settings that have no finished
            cell.

    Returns:
        list[str]: A sentence for each claim, with the figures that it rests on.
    """
    return [
        *_dnc(results, tables),
        *_better_than_bn(results, tables),
        *_robust(results, tables),
        _reduction(results, tables),
        _test_batch(results, tables),
        *_target(results, tables),
    ]


def _dnc(results: AblationResults, tables: Tables) -> Iterator[str]:
    """Under both starts: the paper's letter, and the one that begins as BN."""
    for variant, start in ((None, 'started as BN'), (PAPER, 'started as in the paper')):
        cells = [c for c in tables['module'] if c.norm == 'DNC' and c.variant == variant]
        told = [f'{label} {_val(results, group)}' for label, group in _settings(cells)]
        trained = any(row['val'] is not None and row['val'] > 50 for row in results.of_all(cells))
        verdict = 'does not hold here: it trains' if trained else 'holds here'
        measured = f'{verdict}: val {"; ".join(told)}' if told else NOT_MEASURED
        yield f'DN-C, {start}, does not train (Table 1: NaN) - {measured}.'


def _better_than_bn(results: AblationResults, tables: Tables) -> Iterator[str]:
    for label, cells in _settings(tables['module']):
        if cells[0].norm == 'DNB':
            difference = _against_bn(results, cells)
            yield (
                f'{label}, beats BN (Table 1) - {_holds([difference])}: {difference} '
                f'({_val(results, cells)} against '
                f'{_val(results, [cell.baseline for cell in cells])}).'
            )


def _robust(results: AblationResults, tables: Tables) -> Iterator[str]:
    for table, what in (
        ('learning rate', 'at a high learning rate (Table 8)'),
        ('batch size', 'at a small batch (Table 4)'),
    ):
        by_norm = {}
        for _, cells in _settings(tables[table]):
            cell = cells[0]
            if cell.norm == 'DNB' and (cell.lr, cell.batch_size) != (BASE_LR, BASE_BATCH):
                bn = [c.baseline for c in cells]
                at = f'lr {cell.lr:g}' if table == 'learning rate' else f'batch {cell.batch_size}'
                by_norm.setdefault(cell.label, []).append(
                    (
                        at,
                        _against_bn(results, cells),
                        f'{at}: {_val(results, bn)} BN, {_val(results, cells)} DN-B',
                    )
                )
        for label, found in by_norm.items():
            holds = _holds([difference for _, difference, _ in found])
            yield (
                f'{label}, holds up where BN fails, {what} - {holds}: '
                + '; '.join(text for _, _, text in found)
                + '.'
            )


def _reduction(results: AblationResults, tables: Tables) -> str:
    told = [f'r={cells[0].r} {_val(results, cells)}' for _, cells in _settings(tables['r'])]
    means = [summarize(results.of_all(cells), 'val').mean for _, cells in _settings(tables['r'])]
    verdict = 'in that order' if sorted(means, reverse=True) == means else 'not in that order'
    measured = f'the means are {verdict}: val {"; ".join(told)}' if told[1:] else NOT_MEASURED
    return f'A smaller r improves the accuracy (Sec. 4.4, Table 6) - {measured}.'


def _test_batch(results: AblationResults, tables: Tables) -> str:
    changes = []
    for cell in tables['test batch size']:
        whole = results.of_all([cell])
        changes += [
            abs(row['val'] - whole[0]['val'])
            for size in TEST_BATCHES
            for row in results.of_all([cell], size)
            if row['val'] is not None
        ]
    if not changes:
        return f'The test batch size hardly matters (Table 4) - {NOT_MEASURED}.'
    verdict = 'holds here' if max(changes) < 0.5 else 'does not hold here'
    return (
        f'The test batch size hardly matters (Table 4) - {verdict}: the largest change of a '
        f'run is {max(changes):.2f} points.'
    )


def _target(results: AblationResults, tables: Tables) -> Iterator[str]:
    """Each form of DN-B against BN, over all learning rates and batch sizes."""
    forms = {}
    for label, cells in _settings([*tables['learning rate'], *tables['batch size']]):
        if cells[0].norm == 'DNB':
            difference = _against_bn(results, cells)
            if difference.verdict != 'NaN':  # nothing to compare
                forms.setdefault(label, []).append((cells[0], difference))
    for label, found in forms.items():
        lower = [
            f'lr {cell.lr:g}, batch {cell.batch_size} ({difference})'
            for cell, difference in found
            if difference.verdict == 'lower'
        ]
        higher = sum(difference.verdict == 'higher' for _, difference in found)
        yield (
            f'{label}, over the {len(found)} cell{"s" * (len(found) != 1)} of learning rate and '
            f'batch size: above BN by more than the spread in {higher}, below it in {len(lower)}'
            f'{": " if lower else ""}{"; ".join(lower)}.'
        )


def _settings(cells: Sequence[AblationCell]) -> list[tuple[str, list[AblationCell]]]:
    """The settings among cells, each as its label and the cells of all its seeds."""
    settings = {}
    for cell in dict.fromkeys(cells):
        settings.setdefault(cell.setting, []).append(cell)
    return [(group[0].label, group) for group in settings.values()]


def _against_bn(results: AblationResults, cells: Sequence[AblationCell]) -> Difference:
    bn = summarize(results.of_all([cell.baseline for cell in cells]), 'val')
    return compare(bn, summarize(results.of_all(cells), 'val'))


def _val(results: AblationResults, cells: Sequence[AblationCell]) -> str:
    return str(summarize(results.of_all(cells), 'val'))


def _holds(differences: Sequence[Difference]) -> str:
    """Whether DN-B is above BN, as a claim says, in each of these cells."""
    verdicts = {difference.verdict for difference in differences}
    if verdicts == {'higher'}:
        return 'holds here'
    if 'higher' in verdicts:
        return 'holds here in part'
    return 'does not hold here' if 'lower' in verdicts else 'not shown here'
