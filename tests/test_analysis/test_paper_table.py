"""The paper's figures, each beside what its configuration's model has."""

from dataclasses import replace

import pytest
from mmengine.config import Config

import dn_mmdet  # noqa: F401
from dn_mmdet.analysis import PAPER_ROWS, check_paper_rows, paper_table, print_paper_table
from dn_mmdet.analysis.config_complexity import find_input_shape
from dn_mmdet.analysis.paper_table import is_printed_as
from dn_mmdet.paths import configs_root
from dn_mmdet.utils.errors import UserError


@pytest.fixture(scope='module')
def checked():
    return {result.row.config: result for result in check_paper_rows()}


@pytest.mark.parametrize('row', PAPER_ROWS, ids=lambda row: row.config)
def test_every_row_of_the_paper(checked, row):
    result = checked[row.config]
    assert is_printed_as(result.found.params, row.params)
    assert is_printed_as(result.found.mult_adds, row.mult_adds)
    assert result.matches


@pytest.mark.parametrize('row', PAPER_ROWS, ids=lambda row: row.config)
def test_configurations_give_the_figures_and_the_size_of_their_row(row):
    path = configs_root() / row.config
    header = ' '.join(
        line.strip('# ') for line in path.read_text().splitlines() if line.startswith('#')
    )
    assert row.params in header and row.mult_adds in header
    assert find_input_shape(Config.fromfile(path)) == row.shape


def test_rows_are_those_of_the_paper():
    networks = [row.network for row in PAPER_ROWS]
    assert [
        networks.count(name)
        for name in ('MobileNetV2', 'ResNet-18', 'ResNet-34', 'SSDLite MobileNetV2')
    ] == [10, 3, 3, 2]
    assert len({row.config for row in PAPER_ROWS}) == len(PAPER_ROWS)
    assert {number for row in PAPER_ROWS for number in row.tables if number.isdigit()} == set(
        '123456789'
    )


@pytest.mark.parametrize(
    'value, printed, verdict',
    [
        (299_615_000, '299.62M', True),
        (299_625_000, '299.62M', True),
        (299_625_001, '299.62M', False),
        (299_614_999, '299.62M', False),
        (299_996_000, '300.00M', True),
        (805_000_000, '0.81G', True),
        (804_999_999, '0.81G', False),
        (2_345_000, '2.35M', True),
        (2_355_001, '2.35M', False),
        (2_500, '2K', True),
    ],
)
def test_half_a_unit_of_the_last_printed_digit(value, printed, verdict):
    assert is_printed_as(value, printed) == verdict


@pytest.mark.parametrize(
    'change, verdict',
    [({}, 'matches'), (dict(params='11.23M'), 'OFF'), (dict(mult_adds='1730.13M'), 'OFF')],
)
def test_the_tool_tells_a_row_that_is_off(monkeypatch, run_tool, capsys, change, verdict):
    row = next(row for row in PAPER_ROWS if row.config == 'imagenet100/resnet18_bn.py')
    rows = (replace(row, **change),)
    monkeypatch.setattr(paper_table, 'PAPER_ROWS', rows)
    status = run_tool('--paper')
    lines = capsys.readouterr().out.splitlines()
    assert status == (verdict != 'matches')
    assert [text.strip() for text in lines[2].split('|')[1:-1]] == [
        '3',
        'ResNet-18',
        'BN',
        '11.224M',
        rows[0].params,
        '1730.120M',
        rows[0].mult_adds,
        verdict,
    ]
    assert lines[3].startswith(f'{int(verdict == "matches")} of 1 rows match')


def test_a_wrong_model_is_off(monkeypatch, tmp_path, capsys):
    """The figures are counted, so a stage more or less shows."""
    row = next(row for row in PAPER_ROWS if row.config == 'imagenet100/resnet18_bn.py')
    source = configs_root() / row.config
    (tmp_path / 'wrong.py').write_text(
        f'_base_ = {str(source)!r}\nmodel = dict(backbone=dict(strides=(1, 2, 2, 2)))\n'
    )
    monkeypatch.setattr(paper_table, 'configs_root', lambda: tmp_path)
    assert not print_paper_table([replace(row, config='wrong.py')])
    assert 'OFF' in capsys.readouterr().out
    with pytest.raises(UserError, match='there is no configuration file .*resnet18_bn.py'):
        print_paper_table([row])


@pytest.mark.parametrize(
    'arguments, words',
    [
        ((), 'give either a configuration or --paper'),
        (('--paper', 'config.py'), 'give either a configuration or --paper'),
        (('--paper', '--shape', '32'), '--paper takes no other option'),
    ],
)
def test_options_that_do_not_go_together(run_tool, capsys, arguments, words):
    assert run_tool(*arguments) == 2
    assert words in capsys.readouterr().err
