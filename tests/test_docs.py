"""What the documentation says can be done is done here, and its links lead somewhere."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from dn_mmdet.engine import load_config
from dn_mmdet.engine.preflight import run_preflight
from dn_mmdet.layers import DNB
from tests.helpers.tiny import CLASSES, write_coco

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for page in [*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('c*/**/README.md')]
    if '.venv' not in page.parts
)


def code_blocks(page, language='python'):
    return re.findall(rf'^```{language}\n(.*?)^```$', page.read_text(), re.MULTILINE | re.DOTALL)


def anchors(page):
    """The names that a page's headings have on a code host."""
    headings = re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', text.lower()).replace(' ', '-') for text in headings}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r'\]\(([^)\s]+)\)', page.read_text()):
        if re.match(r'\w+:', link):
            continue
        path, _, anchor = link.partition('#')
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


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


def test_own_data_passes_the_check(tmp_path, monkeypatch):
    """The configuration of the page, with folders and classes of a small data set put in."""
    write_coco(tmp_path / 'data')
    block = next(code for code in code_blocks(ROOT / 'docs/own-data.md') if '_base_' in code)
    for said, here in {
        'ssdlite_mbv2_dnb_coco.py': f'{ROOT}/configs/ssdlite_mbv2_dnb_coco.py',
        'data/my_data/': f'{tmp_path}/data/',
        "('cat', 'dog')": repr(CLASSES),
        'num_classes=2': f'num_classes={len(CLASSES)}',
        'train.json': 'annotations/instances_train2017.json',
        'val.json': 'annotations/instances_val2017.json',
    }.items():
        assert said in block
        block = block.replace(said, here)
    # The small data set has a folder for each split.
    first, second = block.split('val_dataloader', 1)
    block = (
        first.replace('images/', 'train2017/')
        + 'val_dataloader'
        + second.replace('images/', 'val2017/')
    )
    (tmp_path / 'my_data.py').write_text(block)
    config = load_config(str(tmp_path / 'my_data.py'))
    assert run_preflight(config, 'train') == []
