"""A run whose files and lists have their classes in different orders measures what is true."""

import json
import random
from copy import deepcopy
from pathlib import Path

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData

from dn_mmdet.engine import test as run_test
from dn_mmdet.engine import train
from tests.helpers.tiny import CLASSES

TRAINED = CLASSES[3:] + CLASSES[:3]
TRUTH: dict[str, list[str]] = {}  # the end of an image's path to the names of what is on it


@MODELS.register_module()
class Oracle(BaseModel):
    """A perfect detector: it finds every object, and numbers classes as in its training."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples, mode='tensor'):
        for sample in data_samples:
            truth, boxes = sample.gt_instances, sample.gt_instances.bboxes
            names = TRUTH['/'.join(Path(sample.img_path).parts[-2:])]
            labels = torch.tensor([TRAINED.index(name) for name in names])
            if mode == 'loss':
                assert truth.labels.tolist() == labels.tolist()
            sample.pred_instances = InstanceData(
                bboxes=getattr(boxes, 'tensor', boxes),
                labels=labels,
                scores=torch.ones(len(labels)),
            )
        return dict(loss=self.weight.sum()) if mode == 'loss' else data_samples


def spoil(root, split, seed):
    """As a labeling tool might write it: ids from 0, categories in any order, a byte order mark."""
    path = root / f'annotations/instances_{split}.json'
    content = json.loads(path.read_text())
    names = {entry['id']: entry['name'] for entry in content['categories']}
    new = {old: len(names) - i for i, old in enumerate(names, 1)}
    for image in content['images']:
        on_it = [a for a in content['annotations'] if a['image_id'] == image['id']]
        TRUTH[f'{split}/{image["file_name"]}'] = [names[a['category_id']] for a in on_it]
    for entry in content['annotations']:
        entry['id'] -= 1
        entry['category_id'] = new[entry['category_id']]
    content['categories'] = [dict(id=new[i], name=name) for i, name in names.items()]
    random.Random(seed).shuffle(content['categories'])
    path.write_text(json.dumps(content), encoding='utf-8-sig')


def test_training_validation_and_a_later_test(place):
    for seed, split in enumerate(('train2017', 'val2017')):
        spoil(place / 'data', split, seed)
    options = {
        'model': dict(_delete_=True, type='Oracle'),
        'train_cfg.max_epochs': 1,
        'train_dataloader.dataset.metainfo': dict(classes=TRAINED),
        'val_dataloader.dataset.metainfo': dict(classes=sorted(CLASSES)),
        'test_dataloader.dataset.metainfo': dict(classes=CLASSES),
    }
    runner = train('tiny.py', cfg_options=deepcopy(options))
    assert runner.message_hub.get_scalar('val/coco/bbox_mAP').current() == 1
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert 'val_dataloader.dataset lists the classes in another order' in log
    checkpoint = f'{runner.work_dir}/epoch_1.pth'
    assert run_test('tiny.py', checkpoint, cfg_options=options)['coco/bbox_mAP'] == 1
