import pytest
import torch
from mmdet.models.dense_heads import SSDHead
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

import dn_mmdet  # noqa: F401
from dn_mmdet.heads import SSDLiteHead

register_all_modules()

KWARGS = dict(
    num_classes=3,
    in_channels=(8, 8),
    anchor_generator=dict(
        type='SSDAnchorGenerator',
        scale_major=False,
        strides=[16, 32],
        ratios=[[2], [2, 3]],
        min_sizes=[16, 32],
        max_sizes=[32, 60],
    ),
    train_cfg=ConfigDict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.0,
            ignore_iof_thr=-1,
            gt_max_assign_all=False,
        ),
        sampler=dict(type='PseudoSampler'),
        smoothl1_beta=1.0,
        allowed_border=-1,
        pos_weight=-1,
        neg_pos_ratio=3,
        debug=False,
    ),
    test_cfg=ConfigDict(
        nms_pre=1000,
        nms=dict(type='nms', iou_threshold=0.6),
        min_bbox_size=0,
        score_thr=0.02,
        max_per_img=200,
    ),
)


@pytest.fixture
def features():
    torch.manual_seed(0)
    return [torch.randn(2, 8, 4, 4), torch.randn(2, 8, 2, 2)]


def samples(boxes):
    found = []
    for box in boxes:
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(64, 64),
                pad_shape=(64, 64),
                ori_shape=(64, 64),
                scale_factor=(1.0, 1.0),
                batch_input_shape=(64, 64),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(box).reshape(-1, 4), labels=torch.zeros(len(box), dtype=torch.long)
        )
        found.append(sample)
    return found


def test_it_predicts_where_mmdets_head_cannot(features):
    stock = SSDHead(
        use_depthwise=True, norm_cfg=dict(type='BN'), act_cfg=dict(type='ReLU6'), **KWARGS
    ).eval()
    ours = SSDLiteHead(**KWARGS).eval()
    ours.load_state_dict(stock.state_dict())
    batch = samples([[], []])
    with pytest.raises(AttributeError, match='loss_cls'):
        stock.predict(features, batch)
    for result in ours.predict(features, batch):
        assert len(result) > 0
        assert ((result.scores >= 0.02) & (result.scores <= 1)).all()
        assert result.bboxes.min() >= 0 and result.bboxes.max() <= 64
        assert set(result.labels.tolist()) <= {0, 1, 2}


def test_scores_are_a_softmax_with_the_background_last(features):
    head = SSDLiteHead(**KWARGS).eval()
    torch.nn.init.zeros_(head.cls_convs[0][-1].weight)
    torch.nn.init.zeros_(head.cls_convs[1][-1].weight)
    for level in head.cls_convs:
        level[-1].bias.data = torch.tensor([0.0, 0.0, 0.0, 3.0]).repeat(level[-1].bias.numel() // 4)
    expected = torch.tensor([0.0, 0.0, 0.0, 3.0]).softmax(0)[0]
    for result in head.predict(features, samples([[], []])):
        torch.testing.assert_close(result.scores, expected.expand(len(result)))


def test_loss_falls_when_trained_and_empty_images_are_fine(features):
    torch.manual_seed(0)
    head = SSDLiteHead(**KWARGS)
    batch = samples([[[8.0, 8.0, 40.0, 40.0]], []])
    optimizer = torch.optim.SGD(head.parameters(), lr=0.05, momentum=0.9)
    totals = []
    for _ in range(15):
        losses = head.loss(features, batch)
        total = sum(sum(v) for v in losses.values()).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.5 * totals[0]


def test_towers_are_depthwise_with_relu6_by_default():
    tower = SSDLiteHead(**KWARGS).cls_convs[0]
    assert tower[0].conv.groups == 8
    assert isinstance(tower[0].activate, torch.nn.ReLU6)
    assert tower[-1].kernel_size == (1, 1) and tower[-1].out_channels == 4 * 4
