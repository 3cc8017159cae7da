"""Predictions that are missing are made by tools/test.py, which is stood in for here."""

import json
import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from dn_mmdet.compare import compare_folders
from dn_mmdet.runs.make_predictions import make_predictions
from dn_mmdet.runs.run import read_run
from tests.helpers.work_folders import DNB

TOOL = """
import json, sys
from pathlib import Path
config, checkpoint, _, folder, _, out = sys.argv[1:]
print('Epoch(test) [1/2]    eta: 0:00:01')
if b'bad' in Path(checkpoint).read_bytes():
    sys.exit('error: the checkpoint is of another model')
Path(out).write_text(json.dumps([config, checkpoint, folder]))
print('Epoch(test) [2/2]    eta: 0:00:00')
"""


@pytest.fixture
def runs(make_run, tmp_path, monkeypatch):
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools/test.py').write_text(TOOL)
    monkeypatch.setattr('dn_mmdet.runs.launch.tools_root', lambda: tmp_path / 'tools')
    folders = [make_run('bn', [0.1, 0.2, 0.3]), make_run('dnb', [0.1, 0.2, 0.4], norm=DNB)]
    for folder in folders:
        (config,) = Path(folder).rglob('config.py')
        config.write_text(config.read_text() + "val_cfg = dict(fp16=True, type='ValLoop')\n")
        torch.save('weights', Path(folder, 'epoch_3.pth'))
        Path(folder, 'last_checkpoint').write_text('/moved/from/epoch_3.pth')
    return [group.first for group in compare_folders(folders).groups]


def made(run):
    return json.loads(Path(run.work_dir, 'predictions.pkl').read_text())


def test_the_last_checkpoint_is_tested_on_the_val_data(runs, capsys):
    assert make_predictions(runs) == []
    shown = capsys.readouterr().out
    assert 'batch 2 of 2' in shown and shown.count(': done') == 2
    for run in runs:
        config, checkpoint, folder = made(run)
        assert checkpoint == f'{run.work_dir}/epoch_3.pth' and folder == f'{run.work_dir}/test'
        cfg = Config.fromfile(config)
        assert cfg.test_dataloader == cfg.val_dataloader and cfg.model == run_config(run).model
        assert cfg.test_evaluator == cfg.val_evaluator and cfg.test_cfg == dict(
            fp16=True, type='TestLoop'
        )
        # What it leaves is no second start of the run.
        assert compare_folders([run.work_dir for run in runs]).groups[0].first.steps == [1, 2, 3]


def run_config(run):
    return Config.fromfile(run.config_file)


def test_what_is_newer_than_the_checkpoint_is_kept(runs, capsys):
    make_predictions(runs)
    for run in runs:
        Path(run.work_dir, 'predictions.pkl').write_text('["kept"]')
    later = Path(runs[1].work_dir, 'predictions.pkl').stat().st_mtime + 10
    os.utime(Path(runs[1].work_dir, 'epoch_3.pth'), (later, later))
    assert make_predictions(runs) == []
    assert made(runs[0]) == ['kept'] and made(runs[1])[1].endswith('epoch_3.pth')
    assert 'already done' in capsys.readouterr().out


def test_a_run_that_cannot_be_tested_is_told_and_the_others_are_tested(runs):
    torch.save('bad', Path(runs[0].work_dir, 'epoch_3.pth'))
    (reason,) = make_predictions(runs)
    assert reason.startswith(f'{runs[0].work_dir} could not be tested (status 1')
    assert reason.endswith('test.log): the checkpoint is of another model')
    assert made(runs[1]) and not Path(runs[0].work_dir, 'predictions.pkl').exists()
    Path(runs[0].work_dir, 'epoch_3.pth').unlink()
    Path(runs[1].work_dir, 'last_checkpoint').unlink()
    reasons = make_predictions(runs)
    assert 'which no longer exists' in reasons[0] and 'has no last_checkpoint' in reasons[1]


def test_an_interrupt_says_how_to_go_on(runs, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr('subprocess.Popen', stop)
    with pytest.raises(KeyboardInterrupt, match='the same command continues'):
        make_predictions(runs)


def test_a_configuration_that_would_have_to_be_run_is_not_tested(runs, make_run, tmp_path):
    folder = make_run('odd', [0.1, 0.2, 0.3], lr=0.1)
    (config,) = Path(folder).rglob('config.py')
    config.write_text(
        f"{config.read_text()}log = dict(file=open({str(tmp_path / 'made')!r}, 'w'))\n"
    )
    torch.save('weights', Path(folder, 'epoch_3.pth'))
    Path(folder, 'last_checkpoint').write_text('epoch_3.pth')
    (reason,) = make_predictions([read_run(folder)])
    assert f'{config}: log.file is not a literal but open(' in reason
    assert not (tmp_path / 'made').exists() and not Path(folder, 'predictions.pkl').exists()
