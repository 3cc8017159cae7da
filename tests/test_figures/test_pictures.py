import json

import numpy as np
import pytest
import torch
from mmengine.fileio import dump
from mmengine.registry import DefaultScope
from PIL import Image

import dn_mmdet  # noqa: F401
from dn_mmdet.figures.curves import plot_curves
from dn_mmdet.figures.detections import PALETTE, SIDE, draw_detections


def columns_with(picture, color):
    """Share of the pixels of each third of the picture that have (nearly) the color."""
    pixels = np.asarray(Image.open(picture).convert('RGB')).astype(int)
    close = abs(pixels - color).max(axis=2) < 40
    return [part.mean() for part in np.array_split(close, 3, axis=1)]


@pytest.fixture
def scene(tmp_path):
    """Two gray images with a box of the first class each, and detections of two models."""
    (tmp_path / 'val').mkdir()
    images, annotations = [], []
    for i in (1, 2):
        Image.new('RGB', (80, 60), (128, 128, 128)).save(tmp_path / 'val' / f'{i}.png')
        images.append(dict(id=i, file_name=f'{i}.png', width=80, height=60))
        annotations.append(
            dict(id=i, image_id=i, category_id=1, bbox=[10, 10, 40, 30], area=1200, iscrowd=0)
        )
    (tmp_path / 'val.json').write_text(
        json.dumps(
            dict(
                images=images,
                annotations=annotations,
                categories=[dict(id=1, name='a'), dict(id=2, name='b')],
            )
        )
    )
    for name, label, score in (('sure', 1, 0.9), ('unsure', 1, 0.2)):
        dump(
            [
                dict(
                    img_id=i,
                    pred_instances=dict(
                        bboxes=torch.tensor([[10.0, 10.0, 90.0, 40.0]]),
                        labels=torch.tensor([label]),
                        scores=torch.tensor([score]),
                    ),
                )
                for i in (1, 2)
            ],
            tmp_path / f'{name}.pkl',
        )
    return dict(
        type='CocoDataset',
        data_root=str(tmp_path),
        ann_file='val.json',
        data_prefix=dict(img='val'),
        metainfo=dict(classes=('a', 'b')),
        test_mode=True,
        pipeline=[],
    )


def test_truth_and_detections_are_drawn_side_by_side(scene, tmp_path):
    with DefaultScope.overwrite_default_scope('mmdet'):
        draw_detections(
            scene,
            dict(sure=tmp_path / 'sure.pkl', unsure=tmp_path / 'unsure.pkl'),
            tmp_path / 'out.png',
            num_images=2,
        )
    first, second = (np.array(PALETTE[i]) for i in (0, 1))
    truth, sure, unsure = columns_with(tmp_path / 'out.png', first)
    assert truth > 0.002 and sure == unsure == 0
    truth, sure, unsure = columns_with(tmp_path / 'out.png', second)
    # What scores below the threshold is not drawn.
    assert sure > 0.002 and truth == unsure == 0
    assert not list(tmp_path.glob('*.tmp')) and SIDE > 80


def test_curves_have_one_line_each_in_their_own_color(tmp_path):
    plot_curves(
        {
            'BN': ([1, 2, 3], [0.1, 0.2, 0.3]),
            'DN-B': ([1, 2, 3], [0.2, 0.3, 0.4]),
            'empty': ([], []),
        },
        tmp_path / 'c.png',
        ylabel='mAP',
    )
    for color in ((0, 114, 178), (213, 94, 0)):
        assert sum(columns_with(tmp_path / 'c.png', np.array(color))) > 0.005
