"""A detector and a classifier, killed by SIGKILL and resumed, end as those that ran through."""

import multiprocessing
import os
import signal

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from dn_mmdet import engine
from dn_mmdet.engine.checkpoint_file import damage
from dn_mmdet.engine.config import choose_resume
from dn_mmdet.runs.log import read_run_log
from dn_mmdet.utils.errors import UserError
from tests.helpers.tiny import write_classifier, write_coco, write_config, write_image_folder

UNLIKE = {'time', 'data_time', 'eta', 'memory'}
# With the random steps of the shipped pipeline, in a worker.
AUGMENTED = """
train_pipeline.insert(3, dict(type='RandomFlip', prob=0.5))
train_pipeline.insert(4, dict(type='PhotoMetricDistortion'))
train_dataloader.update(num_workers=1)
"""


@HOOKS.register_module()
class KillHook(Hook):
    """SIGKILL in a hook, the n-th time."""

    def __init__(self, point, times):
        self.left = times

        def hook(*args, **kwargs):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)

        setattr(self, point, hook)


def train(config, work_dir, kill=None):
    """Train on from the last checkpoint; to the end, or to a kill in a process of its own."""
    options = {'train_cfg.max_epochs': 2, 'randomness.seed': 3}
    if kill is None:
        engine.train(config, work_dir=work_dir, resume='auto', cfg_options=options)
        return
    options['custom_hooks'] = [dict(type='KillHook', point=kill[0], times=kill[1])]
    process = multiprocessing.get_context('fork').Process(
        target=engine.train, args=(config, work_dir, False, False, 'auto', options)
    )
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL


def outcome(work_dir):
    content = torch.load(work_dir / 'epoch_2.pth', weights_only=True)
    log = read_run_log(work_dir)
    rows = {
        (part, step): {key: value for key, value in row.items() if key not in UNLIKE}
        for part, table in (('train', log.train), ('val', log.val))
        for step, row in table.items()
    }
    rows['schedule'] = repr(content['param_schedulers'])
    return (content['state_dict'], content['optimizer']), rows


@pytest.mark.parametrize(
    'kind, kill', [('detector', ('after_val_iter', 2)), ('classifier', ('before_train_iter', 4))]
)
def test_killed(kind, kill, tmp_path, monkeypatch):
    """In the last evaluation, and in a step of the second epoch."""
    if kind == 'detector':
        write_coco(tmp_path / 'data')
        config = write_config(tmp_path, more=AUGMENTED)
    else:
        for split in ('train', 'val'):
            write_image_folder(tmp_path / 'crops' / split)
        config = write_classifier(tmp_path)
    monkeypatch.chdir(tmp_path)
    train(str(config), 'whole')
    train(str(config), 'killed', kill)
    train(str(config), 'killed')
    tensors, rows = outcome(tmp_path / 'whole')
    others, other_rows = outcome(tmp_path / 'killed')
    assert rows == other_rows
    assert {part for part, _ in rows.keys() - {'schedule'}} == {'train', 'val'}
    torch.testing.assert_close(tensors, others, rtol=0, atol=0)


def torn(path, how):
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(
        {
            'empty': b'',
            'zeros': bytes(len(data)),
            'a part': data[:middle],
            'three bytes': data[:3],
            'a bit': data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        }[how]
    )


@pytest.mark.parametrize('how', ['empty', 'zeros', 'a part', 'three bytes', 'a bit'])
def test_torn_checkpoints_are_passed_over(how, tmp_path):
    for name in ('epoch_9', 'epoch_10', 'epoch_11', 'best_mAP_epoch_10'):
        torch.save(dict(state_dict={'weight': torch.ones(1000)}), tmp_path / f'{name}.pth')
    first, second, last = (tmp_path / f'epoch_{number}.pth' for number in (9, 10, 11))
    (tmp_path / 'last_checkpoint').write_text(str(last))
    cfg = Config(dict(work_dir=str(tmp_path)))
    assert choose_resume(cfg, 'auto') == [] and cfg.load_from == str(last)
    torn(last, how)
    (note,) = choose_resume(cfg, 'auto')
    assert cfg.load_from == str(second)
    assert note.startswith(f'{last} is damaged (') and note.endswith(
        f'): the run continues from {second} instead.'
    )
    with pytest.raises(UserError, match='epoch_11.pth of --resume is damaged .*: give an earlier'):
        choose_resume(cfg, str(last))
    torn(second, how)
    choose_resume(cfg, 'auto')
    assert cfg.load_from == str(first)
    torn(first, how)
    with pytest.raises(UserError, match='last checkpoint, is damaged .* has no other epoch_N.pth'):
        choose_resume(cfg, 'auto')


def test_files_of_old_torch_have_no_hashes(tmp_path):
    torch.save({}, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    assert damage(str(tmp_path / 'old.pth')) == ''
