"""How the cost grows: the cases, one tiny run, and the report of made-up results."""

import json
from dataclasses import replace

import pytest

from dn_mmdet.backbones import MobileNetV2DN
from dn_mmdet.benchmark.models import NORMS, PRESETS, ModelCase, run_benchmark
from dn_mmdet.benchmark.models.cases import AXES, Point
from dn_mmdet.benchmark.models.growth import growth_text, plot_growth
from dn_mmdet.figures.style import save_figure
from tests.helpers.benchmark_results import measured, results

CENTRE = AXES['r'][2].case


def table(text, heading):
    """Cells of the table below a heading, the header first."""
    lines = text.split(f'{heading}\n', 1)[1].split('\n\n#', 1)[0].splitlines()
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines if line[:1] == '|']
    return [rows[0], *rows[2:]]


def layers(case, **shares):
    """Two layers at 4 GB/s of what they must move, for each norm."""
    numbers = dict(layers=2, bytes=2**22, seconds=2**22 / 4e9)
    norms = {
        norm: dict(share=share, **numbers, maps=[dict(map='7x7', **numbers)])
        for norm, share in shares.items()
    }
    return dict(copy=12.5e9, norms=norms)


def test_the_cases_change_one_thing_at_a_time():
    cases = PRESETS['growth']
    assert len({case.name for case in cases}) == len({case.place for case in cases}) == len(cases)
    found = {axis: [point.text for point in points] for axis, points in AXES.items()}
    assert found['batch size'] == ['1', '2', '4', '8', '16', '32']
    assert found['g'] == ['1', '2', '4', 'oup'] and found['threads'] == ['1', '2']
    for axis, points in AXES.items():
        assert any(point.case == CENTRE and point.norm == 'DNB' for point in points)
        for point in points:
            changed = {
                name
                for name in ('batch', 'size', 'width', 'threads')
                if getattr(point.case, name) != getattr(CENTRE, name)
            }
            assert len(changed) <= 1 or 'batch' in changed and 'batch' in point.text
            assert all(point.in_mode(mode) in cases for mode in ('train', 'eval'))
            assert point.norm in point.case.norms
            form = {'r': 16, 'g': 'oup'} | ({axis: point.text} if axis in ('r', 'g') else {})
            cfg = NORMS[point.norm].cfg
            assert {key: str(cfg[key]) for key in form} == {k: str(v) for k, v in form.items()}
    assert sum(case.cost for case in cases) < 720


@pytest.fixture
def tiny(monkeypatch):
    """Axes of a few cases at 32 pixels, with as few rounds as there can be."""
    monkeypatch.setattr(
        'dn_mmdet.benchmark.models.build.MobileNetV2DN',
        lambda **kwargs: MobileNetV2DN(**kwargs, num_blocks=(1,) * 7),
    )
    norms = ('DNB', 'DNB-r4', 'DNB-r32', 'DNB-g4')
    centre = replace(CENTRE, batch=2, size=32, width=0.25, layer_rounds=1, norms=norms)
    one = replace(centre, norms=('DNB',), threads=1)
    axes = {
        'batch size': [Point('2', centre)],
        'threads': [Point('1', one), Point('2', centre)],
        'r': [Point('16', centre), Point('32', centre, 'DNB-r32')],
    }
    monkeypatch.setattr('dn_mmdet.benchmark.models.growth.AXES', axes)
    return [replace(case, repeats=1) for case in (centre, one, replace(one, mode='eval'))]


def test_a_tiny_run_and_its_files(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('dn_mmdet.benchmark.inside.COPIED', 2**10)
    asked = []
    monkeypatch.setattr('dn_mmdet.benchmark.environment.torch.set_num_threads', asked.append)
    assert run_benchmark(tiny, tmp_path, report='growth')
    assert 2 in asked and 1 in asked
    assert {file.name for file in tmp_path.iterdir()} == {'growth.json', 'growth.md', 'growth.png'}
    assert 'growth.json, growth.md, growth.png' in capsys.readouterr().out
    train, _, evaluation = json.loads((tmp_path / 'growth.json').read_text())['cells']
    found = train['layers']['norms']
    assert list(found) == [each['norm'] for each in train['rows']] == train['norms']
    assert all(0 < each['share'] < 1 for each in found.values())
    # Stem, last and 7 blocks of three but one of two; at 32 pixels maps are of 16, 8, 4, 2 and 1.
    assert [each['map'] for each in found['DNB']['maps']] == ['16x16', '8x8', '4x4', '2x2', '1x1']
    assert all(each['layers'] == 22 for each in found.values())
    # Wider SC-Modules and fewer groups: more weights.
    sizes = [found[norm]['bytes'] for norm in ('DNB-r4', 'DNB', 'DNB-r32', 'BN')]
    assert sizes == sorted(set(sizes), reverse=True)
    assert found['DNB-g4']['bytes'] <= found['DNB']['bytes']
    assert set(evaluation['layers']['norms']) == {'BN', 'DNB'}
    text = (tmp_path / 'growth.md').read_text()
    assert len(table(text, '## By r')) == 3 and len(table(text, '### Training step')) == 6
    # It is continued, not measured again.
    monkeypatch.setattr('dn_mmdet.benchmark.models.run.measure_case', None)
    assert run_benchmark(tiny, tmp_path, report='growth')


def test_the_tables_and_the_picture(tmp_path, monkeypatch):
    cells = []
    for case in PRESETS['growth']:
        if case.batch == 32 and case.mode == 'eval':
            continue
        cell = measured(case, **dict.fromkeys(case.norms[1:], 0.5 + 0.1 * case.batch))
        cell['layers'] = layers(case, **dict.fromkeys(case.norms, 0.25))
        cells.append(cell)
    found = results(
        tmp_path, *cells, cpu='a CPU', cores=2, capability='AVX2', torch='2', python='3',
        dn_mmdet='1', code='c', variables={}, flush_denormal=True,
    )  # fmt: skip
    text = growth_text(found)
    batch = table(text, '## By batch size')
    assert [line[0] for line in batch] == ['batch size', '1', '2', '4', '8', '16', '32']
    assert batch[0][3] == 'training step: DN-B / BN' and batch[0][6] == 'evaluation: DN-B / BN'
    assert batch[1][1:4] == ['100 (90 to 110)', '60 (54 to 66)', '0.600 (0.580 to 0.620)']
    assert batch[6][3] == '3.700 (3.680 to 3.720)' and batch[6][4:] == ['', '', '']
    assert [line[0] for line in table(text, '## By image size')][-2:] == [
        '448, batch 4',
        '640, batch 2',
    ]
    shares = table(text, '### Training step')
    assert shares[1] == ['batch size 1', *2 * ['25.0%', '4', '1.049', '4.0'], '12.5']
    assert len(shares) == 1 + sum(map(len, AXES.values()))
    assert len(table(text, '### Evaluation')) == len(shares) - 1
    maps = table(text, '### Training step, by map')
    assert maps[1:] == [
        [f'{batch}, 7x7', '2', *2 * ['4', '1.049', '4.0', '524']] for batch in (1, 8, 32)
    ]
    file, figures = tmp_path / 'growth.svg', []
    monkeypatch.setattr(
        'dn_mmdet.benchmark.models.growth.save_figure',
        lambda figure, file: figures.append(figure) or save_figure(figure, file),
    )
    assert plot_growth(found, file)
    axes = figures[0].axes[0]
    _, train, evaluation = axes.lines
    assert list(train.get_ydata()) == pytest.approx([0.6, 0.7, 0.9, 1.3, 2.1, 3.7])
    assert len(evaluation.get_ydata()) == 5
    # The band is that of the quartiles.
    (corners,) = (path.vertices[:, 1] for path in axes.collections[0].get_paths())
    assert (corners.min(), corners.max()) == pytest.approx((0.58, 3.72))
    drawn = file.read_text()
    for words in (*AXES, '448', 'batch 4', 'oup', '0.25', 'DN-B, training step', 'time, DN-B / BN'):
        assert f'<!-- {words} -->' in drawn


def test_what_was_not_measured_is_left_out(tmp_path):
    """A device on which layers are not timed, and a run of one case."""
    case = AXES['batch size'][0].in_mode('train')
    found = results(
        tmp_path, measured(case, DNB=0.9), device='NVIDIA', cuda='12', cudnn=9, torch='2',
        python='3', dn_mmdet='1', code='c', variables={}, flush_denormal=True,
    )  # fmt: skip
    text = growth_text(found)
    assert len(table(text, '## By batch size')) == 2 and len(table(text, '## By g')) == 1
    assert 'share of the step' not in text
    assert not plot_growth(found, tmp_path / 'no.png') and not (tmp_path / 'no.png').exists()


def test_a_width_is_of_mobilenet_alone():
    with pytest.raises(ValueError, match='width is of mbv2 alone, got 0.5 for my.py'):
        ModelCase(model='my.py', width=0.5)
