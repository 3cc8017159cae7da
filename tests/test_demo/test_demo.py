import sys
from pathlib import Path

import pytest

from dn_mmdet.analysis import Complexity
from dn_mmdet.demo.progress import Progress
from dn_mmdet.demo.report import METRICS, table
from dn_mmdet.demo.training import Training
from dn_mmdet.engine.errors import UserError

CONFIG = """
train_cfg = dict(max_epochs=2)
lr = {lr}
"""

# Stands for tools/train.py: two epochs, the first of which may be there already.
TRAIN = """
import pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
for epoch in (1, 2):
    file = folder / f'epoch_{epoch}.pth'
    if file.exists() and '--resume' in sys.argv:
        continue
    print(f'x - INFO - Epoch(train)  [{epoch}][ 5/10]  lr: 1.0e-02  eta: 0:01  loss: 2.5')
    print(f'x - INFO - Epoch(val) [{epoch}][10/10]    coco/bbox_mAP: 0.1{epoch}0  time: 1')
    if epoch == 2 and (folder / 'fail').exists():
        sys.exit('error: the disk is full')
    file.write_text('weights')
    (folder / 'last_checkpoint').write_text(str(file.resolve()))
"""


@pytest.fixture
def training(tmp_path, monkeypatch):
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools' / 'train.py').write_text(TRAIN)
    (tmp_path / 'run.py').write_text(CONFIG.format(lr=0.1))
    monkeypatch.setattr('dn_mmdet.demo.training.tools_root', lambda: tmp_path / 'tools')
    monkeypatch.chdir(tmp_path)
    return Training('train BN', tmp_path / 'run.py', Path('work_dirs'), seed=0)


def test_a_run_is_followed_to_its_end(training):
    assert training.prepare() is None and not training.done
    told = []
    training.run(lambda share, status: told.append((share, status)))
    assert [share for share, _ in told] == [0.25, 0.75]
    assert told[1][1] == 'epoch 2/2, iteration 5/10, loss 2.5, mAP 0.110'
    assert training.done and training.checkpoint.name == 'epoch_2.pth'


def test_a_stopped_run_goes_on_and_a_done_one_stays(training):
    training.prepare()
    (training.work_dir / 'fail').touch()
    with pytest.raises(UserError, match='(?s)train BN ended with status 1.*the disk is full'):
        training.run(lambda *_: None)
    (training.work_dir / 'fail').unlink()
    assert training.prepare() is None
    told = []
    training.run(lambda share, status: told.append(share))
    assert told == [0.75] and training.done


def test_another_config_or_seed_sets_the_folder_aside_and_loses_nothing(training):
    training.prepare()
    training.run(lambda *_: None)
    training.config.write_text(CONFIG.format(lr=0.2))
    moved = training.prepare()
    assert (moved / 'epoch_2.pth').is_file()
    assert not training.done
    assert list(training.work_dir.iterdir()) == [training.work_dir / 'demo.json']


def test_what_a_run_starts_from_counts(training, tmp_path):
    after = Training('x', tmp_path / 'run.py', tmp_path / 'other', seed=0, after=(training, ))
    before = after.fingerprint()
    training.seed = 1
    assert after.fingerprint() != before


def test_progress_tells_step_status_and_time_left(capsys, monkeypatch):
    clock = iter(range(0, 100000, 100))
    monkeypatch.setattr('dn_mmdet.demo.progress.time.monotonic', lambda: next(clock))
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: False)
    progress = Progress(dict(one=100.0, two=300.0))
    progress.start('one')
    progress.show(0.5, 'epoch 1')
    progress.finish()
    progress.start('two')
    progress.show(1.0, 'epoch 9')
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('[1/2] one') and 'left in all' in lines[0]
    assert '[1/2] one: epoch 1' in lines[1]
    assert '[1/2] one: done' in lines[2]
    assert '(0:00 left in all)' in lines[-1]


def test_table_holds_every_metric_and_the_ratio():
    rows = {
        name: dict(metrics=dict.fromkeys(METRICS.values(), value),
                   complexity=Complexity(1_234_567, 98_765_432), seconds=seconds)
        for name, value, seconds in (('BN', 0.41, 0.5), ('DN-B', 0.47, 0.6))
    }
    text = table(rows)
    head, rule, bn, dnb = text.splitlines()
    assert [c.strip() for c in head.split('|')[1:-1]] == [
        'norm', 'mAP', 'mAP50', 'mAP75', 'small', 'medium', 'large', '#p', 'Mult-Adds', 's/iter']
    assert [c.strip() for c in dnb.split('|')[1:-1]] == [
        'DN-B', *['0.470'] * 6, '1.23M', '98.8M', '1.20 x']
    assert '1.00 x' in bn
    assert len({len(line) for line in (head, rule, bn, dnb)}) == 1
