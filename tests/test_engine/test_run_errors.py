"""What a run makes of exceptions."""

import errno

import cv2
import mmcv
import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import METRICS, DefaultScope
from torch.utils.data import DataLoader

from dn_mmdet.engine import load_config
from dn_mmdet.engine.image_loading import name_bad_images
from dn_mmdet.engine.preflight.registries import config_mistakes
from dn_mmdet.engine.run_errors import as_user_errors
from dn_mmdet.utils.errors import UserError


def test_exceptions_of_a_run(place):
    cfg = load_config('tiny.py')
    with pytest.raises(UserError, match='no disk space is left to write epoch_1.pth.*--resume'):
        with as_user_errors(cfg):
            raise OSError(errno.ENOSPC, 'full', 'epoch_1.pth')
    with pytest.raises(UserError, match='work cannot be written or read .*--work-dir'):
        with as_user_errors(cfg):
            raise PermissionError(errno.EACCES, 'no', 'work')
    with pytest.raises(UserError, match="unexpected keyword argument 'metrics'"):
        with DefaultScope.overwrite_default_scope('mmdet'), as_user_errors(cfg):
            METRICS.build(dict(type='CocoMetric', metrics='bbox'))
    with pytest.raises(UserError, match="a type is 'Gone', which is not registered anywhere"):
        with as_user_errors(cfg):
            METRICS.build(dict(type='Gone'))
    # Bugs keep their traceback.
    for bug in (KeyError('key'), ValueError('value'), TypeError('type'), OSError(errno.EIO, 'io')):
        with pytest.raises(type(bug)) as raised, as_user_errors(cfg):
            raise bug
        assert raised.value is bug


@pytest.mark.parametrize(
    'said, told',
    [
        ('[pair.cc:553] Connection closed by peer [127.0.0.1]:14215.', 'ended or was killed'),
        ('[unbound_buffer.cc:78] Timed out waiting 4000ms for recv operation', 'not answered for'),
        ('Watchdog caught collective operation timeout: WorkNCCL', 'env_cfg.dist_cfg.timeout'),
    ],
)
def test_other_processes(said, told, place, monkeypatch):
    """As gloo said it when one was killed and when one was stopped; NCCL's from its source."""
    cfg = load_config('tiny.py')
    with pytest.raises(RuntimeError, match='cc:|WorkNCCL'), as_user_errors(cfg):
        raise RuntimeError(said)
    monkeypatch.setattr('dn_mmdet.engine.run_errors.get_world_size', lambda: 2)
    with pytest.raises(UserError, match=f'another process .*{told}'), as_user_errors(cfg):
        raise RuntimeError(said)


@pytest.mark.parametrize('layer', ['torch', 'dn_mmdet'])
def test_one_value_per_channel_names_the_batch_size(layer, place):
    from dn_mmdet.layers import DNB

    norm = torch.nn.BatchNorm2d(4) if layer == 'torch' else DNB(4)
    with pytest.raises(UserError, match='(?s)got input size .*train_dataloader.batch_size=2'):
        with as_user_errors(load_config('tiny.py')):
            norm(torch.zeros(1, 4, 1, 1))
    with pytest.raises(ValueError, match='something else'):
        with as_user_errors(load_config('tiny.py')):
            raise ValueError('something else')


class Images:
    def __init__(self, *paths, **options):
        self.paths, self.load = paths, LoadImageFromFile(**options)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        return self.load({'img_path': self.paths[i], 'sample_idx': i})['img']


@pytest.fixture
def named(monkeypatch):
    monkeypatch.setattr(LoadImageFromFile, 'transform', LoadImageFromFile.transform)
    name_bad_images()
    name_bad_images()  # twice, as by training and testing in one process


def damaged_png():
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    whole = bytearray(cv2.imencode('.png', noise)[1])
    middle = len(whole) // 2
    whole[middle : middle + 60] = bytes(60)
    return bytes(whole)


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize(
    'backend, content, reason',
    [
        ('cv2', damaged_png(), 'it is damaged, or of a format that cv2 does not decode'),
        ('cv2', b'', 'the file is empty'),
        ('pillow', b'a text', 'it is damaged, or of a format that pillow does not decode'),
        ('cv2', None, 'no such file or directory'),
    ],
)
def test_an_image_that_does_not_load(backend, content, reason, workers, place, named):
    if content is not None:
        (place / 'bad.png').write_bytes(content)
    loader = DataLoader(Images('bad.png', imdecode_backend=backend), num_workers=workers)
    with pytest.raises(UserError) as raised, as_user_errors(load_config('tiny.py')):
        list(loader)
    assert str(raised.value) == (
        f'bad.png cannot be loaded as an image: {reason}. Replace it, or remove it from the '
        'annotations.'
    )


def test_an_image_that_is_in_no_data_set(place, named):
    with pytest.raises(UserError, match=r'^gone.png .* directory. Replace it, or leave it out.$'):
        LoadImageFromFile()({'img_path': 'gone.png'})


def no_memory(*args, **kwargs):
    raise MemoryError


def test_what_is_no_fault_of_an_image_keeps_its_traceback(place, named, monkeypatch):
    load = LoadImageFromFile()
    with pytest.raises(KeyError, match='img_path'), as_user_errors(load_config('tiny.py')):
        load({})
    monkeypatch.setattr(mmcv, 'imfrombytes', no_memory)
    (place / 'bad.png').write_bytes(b'any')
    with pytest.raises(MemoryError), as_user_errors(load_config('tiny.py')):
        load({'img_path': 'bad.png'})
    assert LoadImageFromFile(ignore_empty=True)({'img_path': 'gone.png'}) is None


def test_an_image_that_another_loader_names(place):
    for text in ('failed to load image: a b.png', 'Caught ...\nfailed to load image: a b.png\n'):
        with pytest.raises(UserError, match=r'^a b\.png cannot be loaded'):
            with as_user_errors(load_config('tiny.py')):
                raise AssertionError(text)


@pytest.mark.parametrize(
    'kind, text, words',
    [
        (
            RuntimeError,
            'DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that '
            "dataloader's workers are out of shared memory.",
            'ran out of shared memory: enlarge /dev/shm',
        ),
        (
            RuntimeError,
            'unable to write to file </torch_7_1_0>: No space left on device (28)',
            'ran out of shared memory: enlarge /dev/shm',
        ),
        (
            RuntimeError,
            'DataLoader worker (pid 7) is killed by signal: Killed. ',
            'a data loader process was killed, which happens where memory runs out',
        ),
        (
            RuntimeError,
            'DataLoader worker (pid(s) 7, 8) exited unexpectedly',
            'a data loader process ended without a word',
        ),
        (RuntimeError, 'received 0 items of ancdata', 'too many files are open'),
        (OSError, '[Errno 24] Too many open files', 'too many files are open'),
    ],
)
def test_a_data_loader_process_that_ended(kind, text, words, place):
    with pytest.raises(UserError, match=words), as_user_errors(load_config('tiny.py')):
        raise kind(text)


@pytest.mark.parametrize(
    'error', [ConnectionResetError(104, 'reset'), EOFError(), BrokenPipeError()]
)
def test_a_data_loader_process_that_ended_while_it_handed_over(error, place, monkeypatch):
    """Another process of the run is not meant, nor what a storage elsewhere says."""
    monkeypatch.setattr('dn_mmdet.engine.run_errors.get_world_size', lambda: 2)

    def get(self, *args, **kwargs):
        raise error

    loader = DataLoader(range(4), num_workers=1)
    cfg = load_config('tiny.py')
    with pytest.raises(UserError, match='a data loader process was killed'), as_user_errors(cfg):
        batches = iter(loader)
        monkeypatch.setattr(type(batches._data_queue), 'get', get)
        next(batches)
    with pytest.raises(type(error)), as_user_errors(cfg):
        raise error.with_traceback(None)


@pytest.mark.parametrize(
    'error, wanted',
    [
        (RuntimeError('please install it by: pip install transformers'), 'transformers. Install'),
        (ImportError('Please install Detectron2 first'), 'Detectron2 first. Install'),
        (FileNotFoundError(errno.ENOENT, 'No such file', 'teacher.py'), "'teacher.py'. Provide"),
        (RuntimeError('of its own'), None),
    ],
)
def test_what_a_model_lacks(error, wanted, place):
    said = wanted and f'tiny.py: the model cannot be built: .*{wanted} what is missing'
    with pytest.raises(UserError if wanted else RuntimeError, match=said or 'of its own'):
        with config_mistakes(load_config('tiny.py'), 'the model'):
            raise error
