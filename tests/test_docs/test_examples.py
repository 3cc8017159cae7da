"""What code of the documentation does, beyond that it runs."""

from contextlib import redirect_stdout
from io import StringIO

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

from dn_mmdet.engine import load_config
from dn_mmdet.engine.preflight import run_preflight
from dn_mmdet.engine.preflight.registries import config_scope
from dn_mmdet.engine.run import prepare_process
from dn_mmdet.layers import DNB, convert_batchnorm
from tests.helpers.layouts import write_layout
from tests.helpers.pages import ROOT, code_blocks


def test_plain_torch_of_the_front_page():
    block = next(code for code in code_blocks(ROOT / 'README.md') if 'convert_batchnorm' in code)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).eval()
    x = torch.randn(2, 3, 8, 8)
    before = model(x)
    scope = {'model': model}
    exec(block, scope)
    assert type(scope['layer']).__name__ == type(scope['model'][1]).__name__ == 'DNB'
    torch.testing.assert_close(scope['model'](x), before)


def test_plain_torch_of_the_layers_page():
    block = next(code for code in code_blocks(ROOT / 'docs/layers.md') if 'Sequential' in code)
    scope = {}
    exec(block, scope)
    assert type(scope['model'][1]).__name__ == 'DNB'
    assert scope['layer'](torch.randn(2, 64, 4, 4)).shape == (2, 64, 4, 4)


def test_conversion_and_back_of_the_page_on_weights():
    there, back = (
        next(code for code in code_blocks(ROOT / 'docs/weights.md') if text in code)
        for text in ('where=', 'revert_to')
    )
    norms = {name: torch.nn.BatchNorm2d(8) for name in ('bn', 'norm')}
    neck = torch.nn.ModuleDict({'level': torch.nn.ModuleDict(norms)})
    backbone = torch.nn.Sequential(torch.nn.BatchNorm2d(8))
    scope = {'model': torch.nn.ModuleDict({'backbone': backbone, 'neck': neck})}
    scope |= {'convert_batchnorm': convert_batchnorm, 'images': []}
    exec(there, scope)
    assert [type(layer) for layer in (backbone[0], *neck['level'].values())] == [
        DNB,
        DNB,
        torch.nn.BatchNorm2d,
    ]
    exec(back, scope)
    assert {m.error for m in scope['movement'].values()} == {0.0}


def test_second_derivative_of_the_layers_page():
    block = next(code for code in code_blocks(ROOT / 'docs/layers.md') if 'create_graph' in code)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), DNB(8), torch.nn.Conv2d(8, 1, 3))
    scope = {'torch': torch, 'model': model}
    exec(block, scope)
    assert model[0].weight.grad.any()
    with pytest.raises(RuntimeError, match='reference'):
        exec(block.replace("'reference'", "'aten'"), scope)


def test_custom_keys_of_the_layers_page_reach_the_bias_as_a_convolutions():
    from mmengine.optim import build_optim_wrapper

    block = next(code for code in code_blocks(ROOT / 'docs/layers.md') if 'custom_keys' in code)
    scope = {}
    exec(block, scope)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), DNB(8))
    optimizer = dict(type='SGD', lr=1.0, weight_decay=0.5)
    wrapper = build_optim_wrapper(
        model, dict(type='OptimWrapper', optimizer=optimizer, **scope['optim_wrapper'])
    )
    groups = {id(p): group for group in wrapper.param_groups for p in group['params']}
    found = {
        name: (groups[id(p)]['lr'], groups[id(p)]['weight_decay'])
        for name, p in model.named_parameters()
    }
    assert found == {
        '0.weight': (1.0, 0.5),
        '0.bias': (2.0, 0.0),
        '1.sc.fc1_weight': (1.0, 0.5),
        '1.sc.fc1_bias': (2.0, 0.0),
        '1.sc.fc2_weight': (1.0, 0.5),
    }


def test_retinanet_of_the_front_page_takes_a_step(tmp_path):
    from mmdet.structures import DetDataSample
    from mmengine.registry import MODELS, init_default_scope
    from mmengine.structures import InstanceData

    block = next(code for code in code_blocks(ROOT / 'README.md') if 'mmdet::' in code)
    (tmp_path / 'config.py').write_text(block)
    config = Config.fromfile(tmp_path / 'config.py')
    init_default_scope('mmdet')
    config.model.backbone.update(init_cfg=None, depth=18)
    config.model.neck.in_channels = [64, 128, 256, 512]
    model = MODELS.build(config.model).train()
    norms = {type(m).__name__ for m in model.backbone.modules() if hasattr(m, 'alpha_offset')}
    assert norms == {'DNB'}
    sample = DetDataSample(
        metainfo=dict(img_shape=(64, 64), pad_shape=(64, 64), scale_factor=(1, 1))
    )
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8, 40, 40]]), labels=torch.tensor([0])
    )
    losses = model.loss(torch.randn(1, 3, 64, 64), [sample])
    sum(sum(values) for values in losses.values()).backward()
    assert all(p.grad is not None for p in model.backbone.layer1.parameters())


@pytest.mark.parametrize(
    'page, said, layout',
    [
        ('docs/own-data.md', "'train.json'", 'coco'),
        ('docs/own-data.md', 'train/_annotations.coco.json', 'roboflow'),
        ('docs/own-data.md', 'instances_default.json', 'cvat'),
        ('docs/own-data.md', 'XMLDataset', 'voc'),
    ],
)
def test_configurations_for_own_data_pass_the_checks(page, said, layout, tmp_path, monkeypatch):
    write_layout(layout, tmp_path)
    monkeypatch.chdir(tmp_path)
    (block,) = (code for code in code_blocks(ROOT / page) if said in code)
    base = 'ssdlite_mbv2_dnb_coco.py'
    (tmp_path / 'my_data.py').write_text(block.replace(base, f'{ROOT}/configs/{base}'))
    prepare_process()
    # The data have 8 images for training.
    config = load_config('my_data.py', {'train_dataloader.batch_size': 4})
    notes = ' '.join(run_preflight(config, 'train'))
    assert 'warms up until iteration 500' in notes
    assert ('animals' in notes) == (layout == 'roboflow')
    for part in ('train', 'val', 'test'):
        with config_scope(config), redirect_stdout(StringIO()):
            dataset = DATASETS.build(config[f'{part}_dataloader'].dataset)
        boxes = [box for i in range(len(dataset)) for box in dataset.get_data_info(i)['instances']]
        assert len(boxes) == 16
        # A cat is small.
        assert {(box['bbox_label'], box['bbox'][2] - box['bbox'][0] < 20) for box in boxes} == {
            (0, True),
            (1, False),
        }


def test_pretrained_backbone_of_the_page_is_that_of_a_configuration():
    (block,) = (c for c in code_blocks(ROOT / 'docs/own-data.md') if 'Pretrained' in c)
    scope = {}
    exec(block, scope)
    shipped = load_config(str(ROOT / 'configs/bccd/ssdlite_mbv2_dnb_bccd.py'))
    backbone = scope['model']['backbone']
    assert backbone['init_cfg'] == shipped.model.backbone.init_cfg
    assert backbone['norm_cfg']['eps'] == shipped.model.backbone.norm_cfg.eps
    assert scope['allow_bn_checkpoint'] is shipped.allow_bn_checkpoint is True


def test_folding_of_the_deployment_page():
    (block,) = code_blocks(ROOT / 'docs/deployment.md')
    scope = {}
    exec(block, scope)
    assert scope['folded'] == 1
    assert [type(m).__name__ for m in scope['model']] == ['FusedConvDNB', 'Identity', 'ReLU']
