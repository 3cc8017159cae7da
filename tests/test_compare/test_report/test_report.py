import base64
import configparser
import csv
import fnmatch
import io
import os
import re
import runpy
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dn_mmdet.analysis.complexity import Complexity
from dn_mmdet.compare import compare_folders, compare_runs
from dn_mmdet.compare.report.tables import (
    class_table,
    count_sizes,
    module_table,
    seed_table,
    size_cells,
    time_table,
)
from dn_mmdet.figures.curves import plot_bands
from dn_mmdet.paths import tools_root
from dn_mmdet.utils.errors import UserError
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.work_folders import BN, DNB

FILES = [
    'compare.csv',
    'compare.html',
    'compare.md',
    'differences.csv',
    'loss_vs_iteration.png',
    'metric_vs_epoch.png',
]
SIZES = {
    'BN': Complexity(1_629_570, 65_552_640),
    'DN-B (16, oup)': Complexity(6_330_000, 810_000_000),
}
VOID = {'meta', 'link', 'img', 'br', 'wbr'}


class Page(HTMLParser):
    """Checks that tags are closed in order and collects what a browser would see."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.references, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for key, value in attrs if key in ('src', 'href', 'srcset')]
        assert not [key for key, _ in attrs if key.startswith('on')]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if 'nav' not in self.open:  # the table of contents says everything before its turn
            self.text.append(data)


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    """Spare the models where they are not what is tested."""
    module = sys.modules['dn_mmdet.compare.run']
    monkeypatch.setattr(
        module,
        'count_sizes',
        lambda groups: ({group.label: SIZES[group.label] for group in groups}, []),
    )


def test_the_page_is_whole_escaped_and_asks_the_network_for_nothing(make_run, tmp_path, capsys):
    evil = '"</code><script>alert(1)</script>&{{ 7 * 7 }}'
    folders = [
        make_run('bn<b>', [0.1, 0.2, 0.3]),
        make_run('dnb', [0.2, 0.3, 0.4], norm=DNB, checkpoint=evil, torch='<img src=x onerror=y>'),
    ]
    compare_runs(folders, tmp_path / 'out')
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == FILES
    text = (tmp_path / 'out/compare.html').read_text()
    page = Page(text)
    told = ''.join(page.text)
    assert 'script' not in page.tags and page.tags.count('img') == 2 and 'b' not in page.tags
    assert evil in told and '<img src=x' in told and folders[0] in told
    assert not re.search('https?://|url\\(|@import|49', ''.join(re.split('base64,[^"]*', text)))
    assert all(reference.startswith(('data:', '#')) for reference in page.references)
    for name, reference in zip_strict(
        ('metric_vs_epoch', 'loss_vs_iteration'),
        (reference for reference in page.references if 'png' in reference),
    ):
        data = base64.b64decode(reference.split(',')[1])
        assert data == (tmp_path / f'out/{name}.png').read_bytes()
        assert Image.open(io.BytesIO(data)).size == (960, 600)
    assert page.tags.count('details') == 1 + 2 and told.count("type='AtomicCheckpointHook'") == 2
    assert 'width=device-width' in text and 'prefers-color-scheme: dark' in text
    shown = capsys.readouterr().out
    assert 'nothing can be said from one seed' in shown and 'compare.html' in shown


def test_template_and_style_are_installed_with_the_package():
    root = Path(__file__).parents[3]
    setup = configparser.ConfigParser()
    setup.read(root / 'setup.cfg')
    patterns = setup['options.package_data']['dn_mmdet.compare.report'].split()
    for file in (root / 'dn_mmdet/compare/report').iterdir():
        if file.is_file() and file.suffix != '.py':
            assert any(fnmatch.fnmatch(file.name, pattern) for pattern in patterns), file.name


def test_sentences_come_first_and_other_differences_before_them(
    three_seeds, make_run, tmp_path, monkeypatch
):
    folders = [
        *three_seeds,
        make_run('gn', [0.1, 0.2, 0.5], lr=0.4, batch=2, norm="dict(type='GN', num_groups=2)"),
    ]
    module = sys.modules['dn_mmdet.compare.run']
    monkeypatch.setattr(module, 'count_sizes', lambda groups: ({}, ['no model']))
    compare_runs(folders, tmp_path / 'out')
    told = ''.join(Page((tmp_path / 'out/compare.html').read_text()).text)
    places = [
        told.index(part)
        for part in (
            'GN, num_groups=2 and BN differ in more than norm_cfg and checkpoint: optim_wrapper.'
            'optimizer.lr, train_dataloader.batch_size.',
            'What can be claimed',
            'a gain that exceeds the spread',
            'no model',
            'Models and metrics',
            'Versions',
            'python tools/train.py',
        )
    ]
    assert places == sorted(places)
    assert 'git revision' in told and 'not part of the interval' in told


def test_a_report_depends_on_neither_order_nor_time(three_seeds, tmp_path):
    compare_runs(three_seeds, tmp_path / 'a')
    compare_runs(three_seeds[::-1], tmp_path / 'b')
    for name in FILES:
        assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes()


def test_the_table_has_the_papers_shape(three_seeds):
    comparison = compare_folders(three_seeds)
    header, bn, dnb = module_table(comparison, SIZES)
    assert header == ['Module', 'r', 'g', 'epochs', 'seeds', '#p', 'Mult-Adds', 'mAP', 'mAP_50']
    # BN: 0.40, 0.41, 0.39; DN-B: 0.42, 0.44, 0.43.
    assert bn == ['BN', '', '', '3', '0, 1, 2', '1.63M', '65.6M', '0.400 ± 0.010', '0.600 ± 0.015']
    assert dnb == [
        'DN-B',
        '16',
        'oup',
        '3',
        '0, 1, 2',
        '6.33M',
        '0.81G',
        '0.430 ± 0.010',
        '0.645 ± 0.015',
    ]
    assert seed_table(comparison)[1:] == [
        ['0', '0.400', '0.420', '+0.020'],
        ['1', '0.410', '0.440', '+0.030'],
        ['2', '0.390', '0.430', '+0.040'],
    ]


def test_dead_runs_stand_in_the_tables(make_run):
    comparison = compare_folders(
        [
            make_run('a', [0.1, 0.2, 0.3]),
            make_run('b', [0.1, 0.2, 0.4], norm=DNB),
            make_run('c', [0.1], norm=DNB, seed=1, scalars_tail='{"loss": NaN, "iter": 150}\n'),
        ]
    )
    assert module_table(comparison, {})[2][3:8] == ['3', '0, 1', '-', '-', '0.400 (NaN in 1 of 2)']
    assert seed_table(comparison)[2] == ['1', '-', 'NaN', '-']


def test_classes_and_times(make_run):
    extra = {'coco/zero_precision': 0.25, 'coco/one_precision': float('nan')}
    more = {'coco/zero_precision': 0.35, 'coco/one_precision': 0.5}
    comparison = compare_folders(
        [
            make_run('a', [0.1, 0.2, 0.3], extra=extra),
            make_run('b', [0.1, 0.2, 0.3], norm=DNB, extra=more),
        ]
    )
    # A class without an object in the images has no precision.
    assert class_table(comparison) == [
        ['class', 'BN', 'DN-B (16, oup)', 'DN-B (16, oup) - BN'],
        ['zero', '0.250', '0.350', '+0.100'],
    ]
    assert comparison.metrics == ('coco/bbox_mAP', 'coco/bbox_mAP_50')
    rows = time_table(comparison)
    assert rows[1] == ['BN', '0.150', '1.00 x', '0.020', 'not logged']


def test_accuracies_are_written_as_percentages(make_run):
    accuracy = [{'accuracy/top1': value} for value in (69.9, 96.4)]
    comparison = compare_folders(
        [
            make_run('a', [0.1, 0.2, 0.3], extra=accuracy[0]),
            make_run('b', [0.1, 0.2, 0.3], extra=accuracy[1], norm=DNB),
        ],
        metric='accuracy/top1',
    )
    assert seed_table(comparison)[1] == ['0', '69.90', '96.40', '+26.50']


def test_csv_and_markdown(three_seeds, tmp_path):
    compare_runs(three_seeds, tmp_path)
    rows = list(csv.DictReader((tmp_path / 'compare.csv').read_text().splitlines()))
    assert [(row['group'], row['seed'], row['coco/bbox_mAP'], row['status']) for row in rows] == [
        ('BN', '0', '0.4', 'finished'),
        ('BN', '1', '0.41', 'finished'),
        ('BN', '2', '0.39', 'finished'),
        ('DN-B (16, oup)', '0', '0.42', 'finished'),
        ('DN-B (16, oup)', '1', '0.44', 'finished'),
        ('DN-B (16, oup)', '2', '0.43', 'finished'),
    ]
    assert rows[3]['params'] == '6330000' and float(rows[0]['seconds_per_iteration']) == (
        pytest.approx(0.15)
    )
    text = (tmp_path / 'compare.md').read_text()
    assert text.startswith('# BN, DN-B (16, oup): mAP on data/digits/annotations/')
    assert re.search(
        r'\| DN-B +\| 16 \| oup \| 3 +\| 0, 1, 2 \| 6.33M \| 0.81G +\| 0.430 ± 0.010', text
    )
    assert '](metric_vs_epoch.png)' in text
    assert 'randomness.seed=2' in text and f'compare.py {three_seeds[0]}' in text


def test_a_report_that_cannot_be_written_leaves_the_old_one(three_seeds, tmp_path, monkeypatch):
    compare_runs(three_seeds, tmp_path / 'out')
    before = {name: (tmp_path / 'out' / name).read_bytes() for name in FILES}

    replace = os.replace

    def full(part, target):
        if Path(target).parent.name == 'out':
            raise OSError(28, 'No space left on device')
        replace(part, target)

    monkeypatch.setattr('dn_mmdet.utils.files.os.replace', full)
    with pytest.raises(UserError, match='cannot be written.*No space left.*--out'):
        compare_runs(three_seeds[:2], tmp_path / 'out')
    assert {path.name: path.read_bytes() for path in (tmp_path / 'out').iterdir()} == before


def test_sizes_are_counted_from_the_configuration(make_run):
    folders = [
        make_run(name, [0.1, 0.2, 0.3], norm=norm)
        for name, norm in (('bn', BN), ('dnb', DNB), ('odd', "dict(type='GN', num_groups=7)"))
    ]
    for folder in folders:
        file = Path(folder, '20260101_000000/vis_data/config.py')
        file.write_text(
            file.read_text().replace(
                "bbox_head=dict(num_classes=10, type='SSDLiteHead'),\n"
                "    type='SingleStageDetector'",
                "in_channels=1280,\n    num_classes=10,\n    type='ImageClassifier'",
            )
        )
    groups = compare_folders(folders).groups
    sizes, notes = count_sizes(groups)
    assert sorted(sizes) == ['BN', 'DN-B (16, oup)']
    assert sizes['DN-B (16, oup)'].params > sizes['BN'].params > 100_000
    assert size_cells(sizes['BN'])[0].endswith('M') and size_cells(None) == ('-', '-')
    assert len(notes) == 1 and 'GN, num_groups=7 could not be counted' in notes[0]


def test_counting_runs_nothing_of_a_foreign_configuration(make_run, tmp_path):
    folder = make_run('a', [0.1, 0.2, 0.3])
    file = Path(folder, '20260101_000000/vis_data/config.py')
    file.write_text(f"{file.read_text()}open({str(tmp_path / 'made')!r}, 'w')\n")
    other = make_run('b', [0.1, 0.2, 0.3], norm=DNB)
    sizes, notes = count_sizes(compare_folders([folder, other]).groups)
    assert 'BN' not in sizes and 'is not a plain NAME = VALUE' in notes[0]
    assert not (tmp_path / 'made').exists()


def test_bands_span_the_seeds(tmp_path):
    steps = [1, 2, 3]
    plot_bands(
        {'a': [(steps, [0.0, 0.0, 0.0]), (steps, [1.0, 1.0, 1.0])], 'none': []},
        tmp_path / 'wide.png',
    )
    plot_bands(
        {'a': [(steps, [0.0, 0.0, 0.0]), ([2, 3, 4], [1.0, 1.0, 1.0])]}, tmp_path / 'part.png'
    )
    tinted = []
    for name in ('wide', 'part'):
        pixels = np.asarray(Image.open(tmp_path / f'{name}.png').convert('RGB')).astype(int)
        # The band is the line's blue on white.
        tinted.append(((pixels[..., 2] - pixels[..., 0] > 30) & (pixels[..., 0] > 150)).mean())
    # It covers nearly all of the axes where both seeds have values at every step.
    assert tinted[0] > 0.4 and tinted[1] > 0.4


def test_the_tool(three_seeds, tmp_path, monkeypatch, capsys):
    tool = str(tools_root() / 'analysis_tools/compare.py')
    out = tmp_path / 'deep/out'
    monkeypatch.setattr(
        sys,
        'argv',
        [tool, *three_seeds, '--out', str(out), '--metric', 'mAP_50', '--baseline', 'DN-B'],
    )
    runpy.run_path(tool, run_name='__main__')
    assert 'BN against DN-B (16, oup), mAP_50: -0.045' in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == FILES
    monkeypatch.setattr(sys, 'argv', [tool, three_seeds[0], '/nowhere'])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(tool, run_name='__main__')
    error = capsys.readouterr().err
    assert left.value.code == 1 and error.startswith('error: a comparison needs two')
    assert '/nowhere: there is no such folder' in error
