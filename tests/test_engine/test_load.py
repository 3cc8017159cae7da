"""Data are loaded for epochs without memory that grows.

``DN_MMDET_IMAGES=10000 DN_MMDET_WORKERS=8`` in the environment loads as many in as many processes
and prints (``-s``) what each epoch held.
"""

import json
import multiprocessing
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import ConfigDict
from mmengine.registry import TRANSFORMS
from mmengine.runner import Runner
from PIL import Image

from dn_mmdet.engine import load_config
from dn_mmdet.engine.preflight.registries import config_scope
from dn_mmdet.engine.replay import make_replayable
from tests.helpers.tiny import CLASSES, REPOSITORY

IMAGES = int(os.environ.get('DN_MMDET_IMAGES', 64))
WORKERS = int(os.environ.get('DN_MMDET_WORKERS', 1))
EPOCHS = 3
# KiB; each image has 75 of them when it is loaded.
ALLOWED = 2048 + IMAGES
CONFIG = REPOSITORY / 'configs/digits/ssdlite_mbv2_dnb_digits.py'


def write(root):
    """Images of two boxes each, of which a thousand differ."""
    random = np.random.default_rng(0)
    (root / 'annotations').mkdir(parents=True)
    (root / 'train2017').mkdir()
    images, annotations = [], []
    for i in range(IMAGES):
        name = f'{i:06}.jpg'
        if i < 1000:
            pixels = random.integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((160, 160)).save(root / 'train2017' / name)
        else:
            os.link(root / 'train2017' / f'{i % 1000:06}.jpg', root / 'train2017' / name)
        images.append(dict(id=i + 1, file_name=name, height=160, width=160))
        for box in range(2):
            bbox = [10 + 50 * box, 20, 40, 60]
            annotations.append(
                dict(id=len(annotations) + 1, image_id=i + 1, category_id=1 + (i + box) % 10,
                     bbox=bbox, area=2400, iscrowd=0)
            )  # fmt: skip
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
    (root / 'annotations/instances_train2017.json').write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=categories))
    )


def held(process):
    """KiB that a process has for itself, and its share of what several have."""
    return sum(
        int(line.split()[1])
        for line in Path(f'/proc/{process}/smaps_rollup').read_text().splitlines()
        if line.startswith('Pss:')
    )


def loaded(root, more=()):
    """KiB of this process and of each one that loads data, behind each epoch."""
    cfg = load_config(str(CONFIG), {'data_root': f'{root}/'})
    loader = cfg.train_dataloader
    loader.update(num_workers=WORKERS, persistent_workers=True)
    loader.dataset.pipeline[-1:-1] = more
    runner = SimpleNamespace(
        _train_loop=ConfigDict(type='EpochBasedTrainLoop', max_epochs=EPOCHS),
        _train_dataloader=loader,
        _randomness_cfg={},
        build_dataloader=Runner.build_dataloader,
        seed=0,
        iter=0,
    )
    with config_scope(cfg):
        make_replayable(runner)
    before, memory = {*multiprocessing.active_children()}, []
    for _ in range(EPOCHS):
        for _batch in runner._train_dataloader:
            runner.iter += 1
        workers = {*multiprocessing.active_children()} - before
        memory.append([held(os.getpid()), *sorted(held(each.pid) for each in workers)])
        assert len(workers) == WORKERS
    for epoch, (main, *others) in enumerate(memory, 1):
        print(f'epoch {epoch}: {main >> 10} MiB, and {[each >> 10 for each in others]} MiB')
    return np.array(memory)


@pytest.fixture
def root(tmp_path):
    write(tmp_path)
    return tmp_path


pytestmark = pytest.mark.skipif(
    not Path('/proc/self/smaps_rollup').exists(), reason='asks Linux for the memory of processes'
)


def test_epochs_hold_no_more_memory(root):
    memory = loaded(root)
    # In the first one all that is loaded lazily is loaded.
    assert (memory[-1] - memory[1] < ALLOWED).all(), memory


@TRANSFORMS.register_module()
class _Keeping:
    kept = []

    def __call__(self, results):
        self.kept.append(results['img'].copy())
        return results


def test_images_that_are_kept_would_be_noticed(root):
    memory = loaded(root, more=[dict(type='_Keeping', _scope_='mmengine')])
    assert (memory[-1] - memory[1])[1:].sum() > ALLOWED
