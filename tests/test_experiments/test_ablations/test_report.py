import pytest

from dn_mmdet.experiments.ablations import report
from dn_mmdet.experiments.ablations.cells import BASE_LR, CAPPED, FORMS, HIGH_LR, plan
from dn_mmdet.experiments.ablations.claims import paper_claims
from dn_mmdet.experiments.ablations.results import AblationResults
from dn_mmdet.utils.python39 import zip_strict


def accuracy(cell):
    """BN falls at a high rate and a small batch, DN-B stands; seeds differ by a tenth."""
    if cell.norm == 'DNC' and cell.variant:
        return 10.0
    value = 90.0 + {'BN': 0, 'SEBN': 1, 'DNC': -5, 'DNB': 2}[cell.norm] + 0.1 * cell.seed
    if cell.norm == 'BN' and (cell.lr == HIGH_LR or cell.batch_size == 2):
        value -= 30
    if cell.norm == 'DNB' and cell.batch_size == 8:
        value -= 4 + 0.2 * cell.seed
    return value - 10 * (cell.variant is not None)


@pytest.fixture
def results(tmp_path):
    found = AblationResults(tmp_path / 'ablations.csv', '')
    row = dict(train=99.0, diverged_at=None, seconds=1.0)
    tables = plan()
    for cell in dict.fromkeys(cell for cells in tables.values() for cell in cells):
        sizes = (100, 1, 2, 32) if cell in tables['test batch size'] else (100,)
        rows = [dict(row, test_batch_size=size, val=accuracy(cell)) for size in sizes]
        if cell.norm == 'DNC' and cell.fuse == 'fc2':
            rows = [dict(rows[0], val=None, train=None, diverged_at=7)]
        found.add(cell, rows)
    return found


def test_the_tables(results, tmp_path, monkeypatch):
    monkeypatch.setattr(
        report,
        '_sizes',
        lambda tables: dict.fromkeys(
            {report._size_key(c) for cells in tables.values() for c in cells}, ('1M', '2M')
        ),
    )
    text = report.write_ablation_report(results, plan(), tmp_path)
    assert (tmp_path / 'ablations.md').read_text() == text
    assert (tmp_path / 'ablations.png').stat().st_size > 10_000
    lines = [[part.strip() for part in line.strip('|').split('|')] for line in text.splitlines()]
    dnb = ['DN-B', '16', 'oup', '1M', '2M', '3', '99.0 ± 0.0', '92.1 ± 0.1', '+2.0 ± 0.0, higher']
    assert lines.count(dnb) == 2  # as a module and as a group size
    assert [
        'DN-C, after FC2',
        '16',
        '1',
        '1M',
        '2M',
        '3',
        'NaN in 3 of 3',
        'NaN in 3 of 3',
        'lower: the other diverged',
    ] in lines
    high = ['BN', '', '', f'{HIGH_LR:g}', '1M', '2M', '3', '99.0 ± 0.0', '60.1 ± 0.1', '']
    assert high in lines
    assert sum(line[:4] == ['BN', '', '', size] for line in lines for size in '12') == 3


def test_the_claims(results):
    told = paper_claims(results, plan())

    def find(beginning):
        return next(line for line in told if line.startswith(beginning))

    assert 'does not hold here: it trains' in find('DN-C, started as BN, does not train')
    assert '- holds here: val' in find('DN-C, started as in the paper, does not train')
    assert 'holds here: +2.0 ± 0.0, higher' in find('DN-B (16, 1), beats BN')
    assert '- holds here: lr' in find('DN-B (16, oup), holds up where BN fails, at a high')
    assert 'in part' in find('DN-B (16, 1), holds up where BN fails, at a small')
    assert 'the largest change of a run is 0.00' in find('The test batch size')
    target = find('DN-B (16, oup), over the 8 cells')
    assert 'more than the spread in 7, below it in 1' in target
    assert f'lr {BASE_LR:g}, batch 8 (-2.2' in target


def test_the_picture_shows_every_form_that_was_trained(results, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(report, 'save_figure', lambda figure, file: drawn.append(figure))
    tables = plan((0,), variants=[*FORMS])
    for cell in (*tables['learning rate'], *tables['batch size']):
        row = dict(train=99.0, diverged_at=None, seconds=1.0, test_batch_size=100)
        results.add(cell, [dict(row, val=50.0)])
    report.plot_robustness(results, tables, tmp_path / 'a.png')
    left, right = (
        {line.get_label(): _look(line) for line in axes.get_lines()} for axes in drawn[0].axes
    )
    # At the usual rate one form is another.
    only_left = {f'DN-B, {CAPPED} (16, {g})' for g in ('1', 'oup')}
    assert left.keys() - right.keys() == only_left and not right.keys() - left.keys()
    assert len(left) == len({*left.values()}) == 4 + 2 * len(FORMS)
    assert {label: left[label] for label in right} == right
    (legend,) = drawn[0].legends
    named = (text.get_text() for text in legend.get_texts())
    assert dict(zip_strict(named, map(_look, legend.get_lines()))) == left


def _look(line):
    return line.get_color(), line.get_marker(), line.get_linestyle()
