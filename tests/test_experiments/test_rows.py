"""Rows of finished runs, as a file keeps them, and what the report says of them."""

from threading import Thread

import pytest

from dn_mmdet.experiments.rows import Rows
from dn_mmdet.experiments.rows_report import write_rows_report
from dn_mmdet.utils.errors import UserError
from dn_mmdet.utils.python39 import zip_strict


def of(file):
    return Rows(file, ('arm', 'seed'), ('arm', 'norm'), ('mAP',))


def test_rows_are_found_replaced_and_kept(tmp_path):
    rows = of(tmp_path / 'made/rows.csv')
    assert rows.read() == [] and not rows.has(dict(arm='bn', seed=0))
    rows.add(dict(arm='bn', seed=0, mAP=0.123456789, norm='BN, "eps"'))
    rows.add(dict(arm='dnb', seed=0, mAP=None, norm='DN-B', fog=float('nan')))
    assert rows.has(dict(arm='bn', seed='0', more=1)) and not rows.has(dict(arm='bn', seed=1))
    assert rows.read()[0] == dict(arm='bn', seed=0, mAP=0.123457, norm='BN, "eps"', fog=None)
    rows.add(dict(arm='bn', seed=0, mAP=0.5))
    assert of(rows.file).read() == [
        dict(arm='dnb', seed=0, mAP=None, norm='DN-B', fog=None),
        dict(arm='bn', seed=0, mAP=0.5, norm='', fog=None),
    ]
    # A file that a table program saved.
    rows.file.write_bytes(b'\xef\xbb\xbf' + rows.file.read_bytes().replace(b'\n', b'\r\n'))
    rows.add(dict(arm='bn', seed=1, mAP=1e-7))
    assert [(row['arm'], row['seed'], row['mAP']) for row in of(rows.file).read()] == [
        ('dnb', 0, None),
        ('bn', 0, 0.5),
        ('bn', 1, 1e-7),
    ]


def test_rows_of_one_key_are_added_and_replaced_together(tmp_path):
    rows = of(tmp_path / 'rows.csv')
    rows.add(dict(arm='bn', seed=0, mAP=0.1), dict(arm='bn', seed=0, mAP=0.2))
    rows.add(dict(arm='bn', seed=1, mAP=0.3))
    rows.add(dict(arm='bn', seed=0, mAP=0.4), dict(arm='bn', seed=0, mAP=0.5))
    assert [row['mAP'] for row in rows.read()] == [0.3, 0.4, 0.5]


def test_rows_added_at_the_same_time_all_stay(tmp_path):
    """Each writer has read the file before the others wrote to it."""
    writers = [of(tmp_path / 'rows.csv') for _ in range(8)]
    rows = [dict(arm='bn', seed=seed, mAP=0.5) for seed in range(8)]
    threads = [Thread(target=w.add, args=(row,)) for row, w in zip_strict(rows, writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(row['seed'] for row in writers[0].read()) == list(range(8))
    assert [file.name for file in tmp_path.iterdir()] == ['rows.csv']


@pytest.mark.parametrize(
    'text, message',
    [
        ('arm,mAP\nbn,1\n', "row 1 has no column 'seed'"),
        ('arm,seed\nbn,1\n', "row 1 has no column 'mAP'"),
        ('arm;seed;mAP\nbn;1;0.5\n', "row 1 has no column 'arm'"),
        ('arm,seed,mAP,arm\nbn,1,0.5,bn\n', "row 1 has the column 'arm' more than once"),
        ('arm,seed,mAP\nbn,0,1\nbn,1,2,3\n', 'row 3 has not as many cells as there are columns'),
        ('arm,seed,mAP\nbn,0\n', 'row 2 has not as many cells as there are columns'),
        ('arm,seed,mAP\n<<<<<<< HEAD\nbn,0,1\n', 'row 2 has not as many cells'),
        ('arm,seed,mAP\nbn,x,0.5\n', "row 2 has 'x' for seed, which is not a whole number"),
        ('arm,seed,mAP\nbn,1.0,0.5\n', "row 2 has '1.0' for seed, which is not a whole number"),
        ('arm,seed,mAP\nbn,,0.5\n', "row 2 has '' for seed, which is not a whole number"),
        ('arm,seed,mAP\nbn,0,high\n', "row 2 has 'high' for mAP, which is not a number"),
        ('arm,seed,mAP\nbn,0,nan\n', "row 2 has 'nan' for mAP, which is not a number"),
        ('arm,seed,mAP\nbn,0,inf\n', "row 2 has 'inf' for mAP, which is not a number"),
        ('arm,seed\n"bn,0\n', 'cannot be read as a CSV file'),
        (b'arm,seed\n\xff,0\n', 'cannot be read as a CSV file'),
    ],
)
def test_another_file_is_refused(text, message, tmp_path):
    file = tmp_path / 'rows.csv'
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=f'{file}.*{message}.*another folder with --out'):
        of(file)


def row(arm, seed, mAP=None, **more):  # noqa: N803
    circumstances = dict(norm=arm.upper(), machine='a CPU', revision='abcdef0123456789')
    setting = dict(epochs=30, lr=0.02, batch_size=8, weights='w.pth', options='')
    return dict(arm=arm, seed=seed, **setting, **circumstances, mAP=mAP) | more


def cells(line):
    return [cell.strip() for cell in line.split('|')[1:-1]]


def table(text, first):
    """The cells of the table whose first line holds some words."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith('|') and first in line)
    rows = []
    for line in lines[start:]:
        if not line.startswith('|'):
            break
        rows.append(cells(line))
    return [rows[0], *rows[2:]]


def test_the_report_pairs_by_seed_and_keeps_settings_apart(tmp_path):
    rows = [
        row('bn', 0, 0.3, **{'AP a': 0.5, 'mPC': 0.2, 'rPC': 0.6, 'fog': 0.2}),
        row('bn', 1, 0.4, **{'AP a': 0.7, 'mPC': 0.2, 'rPC': 0.5, 'fog': 0.2}),
        row('dnb', 1, 0.43, static_mAP=0.33, mPC=0.25),
        row('dnb', 0, 0.32, static_mAP=0.3, mPC=0.24),
        # No BN of its seed: it is in the mean, and in no difference.
        row('dnb', 2, 0.9, static_mAP=None, mPC=None, revision='abcdef0123456789-dirty'),
        row('dnb_x', 0, diverged='its loss is nan'),
        row('bn', 0, 0.1, lr=0.08, epochs=1),
    ]
    file = tmp_path / 'rows.md'
    text = write_rows_report(rows, file, 'A title', 'About it.')
    assert file.read_text() == text and text.startswith('# A title\n\nAbout it.\n')
    assert text.count('\n## ') == 2 and '30 epochs, learning rate 0.02, 8 images' in text
    assert '1 epoch, learning rate 0.08, 8 images a step, from w.pth' in text
    head, bn, dnb, lost = table(text, 'mAP, seed 0')
    assert head[:5] == ['arm', 'norm', 'mAP, seed 0', 'seed 1', 'seed 2']
    assert bn[2:6] == ['0.300', '0.400', '', '0.350 ± 0.071'] and bn[6:9] == ['', '', '']
    assert dnb[2:5] == ['0.320', '0.430', '0.900']
    assert dnb[6:9] == ['+0.025 ± 0.007', '+0.020 to +0.030', 'two seeds']
    assert lost[2] == 'NaN' and lost[5] == 'NaN' and lost[6:9] == ['', '', 'lower']
    assert bn[head.index('AP a')] == '0.600 ± 0.141'
    assert table(text, 'held at')[1:] == [
        ['dnb', '0.550 ± 0.308', '0.315 ± 0.021', '+0.060 ± 0.057']
    ]
    head, bn, dnb, *_ = table(text, 'mPC, seed 0')
    assert dnb[6:8] == ['+0.045 ± 0.007', '+0.040 to +0.050']
    assert bn[head.index('rPC')] == '0.550 ± 0.071' and bn[head.index('fog')] == '0.200 ± 0.000'
    assert text.rstrip().endswith('Made on a CPU (code abcdef012345, abcdef012345-dirty).')


def test_a_single_seed_has_no_interval(tmp_path):
    text = write_rows_report([row('bn', 0, 0.3), row('dnb', 0, 0.2)], tmp_path / 'a.md', '', '')
    assert table(text, 'mAP, seed 0')[2] == [
        'dnb',
        'DNB',
        '0.200',
        '0.200',
        '-0.100',
        '',
        'one seed',
    ]
