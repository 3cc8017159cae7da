"""The rows of the paper's classification tables: each configuration says what its row does."""

import json
import re
import shutil
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope, Registry, init_default_scope
from PIL import Image
from torch import nn

import dn_mmdet  # noqa: F401
from dn_mmdet.engine import train
from dn_mmdet.layers import DNB, DNC, SEBN
from dn_mmdet.utils.python39 import zip_strict

ROOT = Path(__file__).resolve().parents[2] / 'configs'
FOLDER = ROOT / 'imagenet100'
NAMES = sorted(path.stem for path in FOLDER.glob('*.py'))
README = (FOLDER / 'README.md').read_text(encoding='utf-8')
# Network, norm, and what else the row changes.
PARTS = re.compile(
    r'(mbv2|resnet18|resnet34)_(bn|se|dnc_fc[12]|dnb_r\d+_g(?:oup|\d+))'
    r'(?:_(lr0p\d|b\d+|testb\d+))?'
)
SUFFIXES = {
    'lr': {'.optim_wrapper.optimizer.lr'},
    'b': {
        '.train_dataloader.batch_size',
        '.max_epochs',
        '.train_cfg.max_epochs',
        '.param_scheduler',
        '.auto_scale_lr.base_batch_size',
    },
    'testb': {'.test_dataloader.batch_size'},
}


@lru_cache
def load(name):
    return Config.fromfile(FOLDER / f'{name}.py')


def flat(value, prefix=''):
    if isinstance(value, dict):
        inner = (flat(item, f'{prefix}.{key}') for key, item in value.items())
        return {key: item for part in inner for key, item in part.items()}
    return {prefix: value}


def difference(one, other):
    a, b = (flat(load(name).to_dict()) for name in (one, other))
    return {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)}


def header(name):
    lines = (FOLDER / f'{name}.py').read_text(encoding='utf-8').splitlines()
    return ' '.join(line[2:] for line in lines if line.startswith('# '))


def table():
    """The rows of the README's tables, by configuration: column to text."""
    rows, columns = {}, ()
    for line in README.splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if cells[0] == 'configuration':
            columns = cells
        elif line.startswith('| ['):
            rows[re.match(r'\[`(\w+)\.py`\]', cells[0])[1]] = dict(zip_strict(columns, cells))
    return rows


TABLE = table()


def test_the_readme_lists_every_configuration_and_every_link_leads_somewhere():
    assert sorted(TABLE) == NAMES and len(NAMES) == 33
    links = [link for link in re.findall(r'\]\(([^)]+)\)', README) if '://' not in link]
    assert len(links) > len(NAMES)
    assert [link for link in links if not (FOLDER / link.partition('#')[0]).exists()] == []
    named = re.findall(r'(?:configs|tools)/[\w/]+\.(?:py|sh)', README)
    assert len(named) > 5
    assert [path for path in named if not (ROOT.parent / path).exists()] == []


@pytest.mark.parametrize('name', NAMES)
def test_the_header_the_readme_and_the_settings_agree(name):
    cfg, row, text = load(name), TABLE[name], header(name)
    batch = str(cfg.train_dataloader.batch_size)
    if 'testb' in name:
        batch += f', test {cfg.test_dataloader.batch_size}'
    assert (row['lr'], row['batch'], row['epochs']) == (
        str(cfg.optim_wrapper.optimizer.lr),
        batch,
        str(cfg.train_cfg.max_epochs),
    )
    assert f'{row["#p"]} parameters, {row["Mult-Adds"]} multiply-adds' in text
    assert re.search(rf'lr {row["lr"]}\b.*\b{row["epochs"]} epochs', text)
    assert re.search(rf'\bbatch {cfg.train_dataloader.batch_size}\b', text, re.IGNORECASE)
    for column in ('Train', 'Val', 'Test'):
        assert f'{column} {row[column].replace("–", "none")}' in text
    for number in row['table'].split(', '):
        assert re.search(rf'^Paper Tables? [\d, and]*\b{number}\b', text)


def without_memory(cfg):
    """The model of a configuration, its tensors having shapes alone."""
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        return MODELS.build(cfg.model)


def base_of(name):
    """The network and the norm, as the names give them."""
    network, norm, _ = PARTS.fullmatch(name).groups()
    return f'{network}_{norm}'


@lru_cache
def built(base):
    """A model for each network and norm, which the rest of a row does not change."""
    return without_memory(load(next(name for name in NAMES if base_of(name) == base)))


@pytest.mark.parametrize('name', NAMES)
def test_the_model_is_that_of_the_row(name):
    model = built(base_of(name))
    assert f'{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M' == TABLE[name]['#p']
    norms = {'bn': nn.BatchNorm2d, 'se': SEBN, 'dnc': DNC, 'dnb': DNB}
    cls = norms[re.search(r'_(bn|se|dnc|dnb)', name)[1]]
    layers = [m for m in model.backbone.modules() if type(m) is cls]
    assert len(layers) == {'mbv2': 52, 'resnet18': 21, 'resnet34': 37}[name.partition('_')[0]]
    # The BatchNorm inside a dynamic one has the eps.
    assert {getattr(layer, 'bn', layer).eps for layer in layers} == {1e-3}
    kind = re.search(r'_r(\d+)_g(\w+?)(?:_|$)', name)
    if kind:
        norm_cfg = load(name).model.backbone.norm_cfg
        assert (str(norm_cfg.r), str(norm_cfg.g)) == kind.groups()


@pytest.mark.parametrize('name', [name for name in NAMES if '_bn' not in name])
def test_a_row_differs_from_its_bn_row_in_the_norm_alone(name):
    network, norm, suffix = PARTS.fullmatch(name).groups()
    bn = f'{network}_bn' + (f'_{suffix}' if suffix else '')
    different = difference(name, bn)
    if norm.startswith('dnc'):  # the footnotes of Table 1
        different.remove('.optim_wrapper.optimizer.lr')
    assert '.model.backbone.norm_cfg.type' in different
    assert {key for key in different if not key.startswith('.model.backbone.norm_cfg.')} == set()


@pytest.mark.parametrize('name', [name for name in NAMES if PARTS.fullmatch(name)[3]])
def test_a_suffix_changes_what_it_says_alone(name):
    suffix = PARTS.fullmatch(name)[3]
    kind = re.match(r'lr|b|testb', suffix)[0]
    if base_of(name) in NAMES:  # of ResNet-18 with r=16 the paper has no row at lr 0.2
        assert difference(name, base_of(name)) == SUFFIXES[kind]
    cfg, number = load(name), float(suffix[len(kind) :].replace('p', '.'))
    if kind == 'lr':
        assert cfg.optim_wrapper.optimizer.lr == number
    elif kind == 'testb':
        assert cfg.test_dataloader.batch_size == number
    else:
        assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == number
        epochs = {8: 120, 4: 60}[number]
        assert cfg.param_scheduler[0].T_max == cfg.param_scheduler[0].end == epochs


def rates(schedulers, lr, epochs, steps):
    """The learning rate of every step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=lr)
    built = []
    for cfg in schedulers:
        cls = PARAM_SCHEDULERS.get(cfg['type'])
        arguments = {
            key: value for key, value in cfg.items() if key not in ('type', 'convert_to_iter_based')
        }
        assert cfg['convert_to_iter_based']
        built.append(
            cls.build_iter_from_epoch(optimizer=optimizer, epoch_length=steps, **arguments)
        )
    found = []
    for _ in range(epochs * steps):
        found.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in built:
            scheduler.step()
    return found


def test_the_recipe_is_the_papers():
    cfg = load('mbv2_dnb_r16_g1')
    model = nn.Conv2d(3, 4, 1)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    assert type(optimizer) is torch.optim.SGD
    assert {k: optimizer.defaults[k] for k in ('lr', 'momentum', 'weight_decay', 'nesterov')} == {
        'lr': 0.2,
        'momentum': 0.9,
        'weight_decay': 4e-5,
        'nesterov': False,
    }
    assert cfg.model.label_smoothing == 0.1 and cfg.auto_scale_lr.base_batch_size == 64
    found = rates(cfg.param_scheduler, 0.2, cfg.train_cfg.max_epochs, steps=2)
    expected = 0.1 * (1 + np.cos(np.pi * np.arange(480) / 480))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def code_of(section):
    """The Python of a section of the README."""
    scope = {}
    exec(re.search(rf'## {section}\n.*?```python\n(.*?)```', README, re.DOTALL)[1], scope)
    return scope


def test_the_warm_up_of_the_readme_rises_and_joins_the_cosine():
    found = rates(code_of('Warm-up')['param_scheduler'], 0.2, 240, steps=4)
    assert found[0] == pytest.approx(0.0002)
    assert np.all(np.diff(found[:20]) > 0) and np.all(np.diff(found[20:]) <= 0)
    assert found[20] == pytest.approx(0.2) and 0 < found[-1] < 1e-5


@pytest.fixture
def mmpretrain():
    """A registry such as mmpretrain's: a child of the root, with a scope of its own."""
    if 'mmpretrain' in MODELS.children:  # Where it is installed, another test may have imported it.
        yield MODELS.children['mmpretrain']
        return
    registry = Registry('model', parent=MODELS, scope='mmpretrain')
    registry.register_module(name='MobileNetV2', module=nn.Identity)
    yield registry
    del MODELS.children['mmpretrain']


def test_mmpretrain_finds_the_backbone_of_the_readme(mmpretrain):
    cfg = code_of('In mmpretrain')['model']['backbone']
    assert cfg.pop('_delete_') and cfg['type'] == 'mmengine.MobileNetV2DN'
    own = built('mbv2_dnb_r16_goup').backbone.state_dict()
    for name in (cfg['type'], 'MobileNetV2DN'):
        with DefaultScope.overwrite_default_scope('mmpretrain'), torch.device('meta'):
            backbone = mmpretrain.build(cfg | dict(type=name))
        assert sum(isinstance(m, DNB) for m in backbone.modules()) == 52
        found = backbone.state_dict()
        assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in own.items()}


@pytest.mark.parametrize(
    'row, detector',
    [
        ('mbv2_bn', 'ssdlite_mbv2_bn_coco'),
        ('mbv2_dnb_r16_goup', 'ssdlite_mbv2_dnb_coco'),
        ('mbv2_dnb_r16_goup', 'ssdlite_mbv2_dnb_paper_coco'),
    ],
)
def test_the_detectors_backbone_has_the_keys_of_the_row_it_starts_from(row, detector):
    cfg = Config.fromfile(ROOT / f'{detector}.py')
    init = cfg.model.backbone.pop('init_cfg')
    assert init.prefix == 'backbone.' and init.checkpoint in header(row)
    expected = {k: v.shape for k, v in without_memory(cfg).backbone.state_dict().items()}
    given = {
        k.removeprefix(init.prefix): v.shape
        for k, v in built(row).state_dict().items()
        if k.startswith(init.prefix)
    }
    assert given == expected
    assert cfg.model.data_preprocessor.mean == load(row).model.data_preprocessor.mean
    assert cfg.model.data_preprocessor.std == load(row).model.data_preprocessor.std


def test_configurations_load_where_the_wheel_has_them(tmp_path):
    installed = tmp_path / 'site-packages' / 'dn_mmdet' / '.mim' / 'configs'
    shutil.copytree(ROOT, installed, ignore=shutil.ignore_patterns('__pycache__'))
    name = 'mbv2_dnb_r16_g1_b8'
    found = Config.fromfile(installed / 'imagenet100' / f'{name}.py')
    assert found.to_dict() == load(name).to_dict()


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Images whose pixels hold half their place, and the lists of the three splits."""
    root = tmp_path_factory.mktemp('imagenet')
    rows, columns = np.mgrid[:375, :500] // 2
    pixels = np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    (root / 'n01').mkdir()
    for i in range(4):
        Image.fromarray(pixels).save(root / 'n01' / f'{i}.png')
    classes = ['n11939491', *(f'n{i:08}' for i in range(1, 100))]
    (root / 'classes.txt').write_text(''.join(f'{name}\n' for name in classes))
    for split in ('train', 'val', 'test'):
        (root / f'{split}.txt').write_text(''.join(f'n01/{i}.png {i % 2}\n' for i in range(4)))
    return root


def piped(split, images, seed=0):
    np.random.seed(seed)
    cfg = load('mbv2_bn')
    init_default_scope(cfg.default_scope)
    pipeline = Compose(cfg[f'{split}_dataloader'].dataset.pipeline)
    return pipeline(dict(img_path=str(images / 'n01' / '0.png'), gt_label=3))


def test_training_images_are_random_crops(images):
    first, second, again = (piped('train', images, seed) for seed in (0, 1, 0))
    assert first['inputs'].shape == (3, 224, 224) and first['inputs'].dtype == torch.uint8
    assert first['data_samples'].gt_label == 3
    assert torch.equal(first['inputs'], again['inputs'])
    assert not torch.equal(first['inputs'], second['inputs'])


@pytest.mark.parametrize('split', ['val', 'test'])
def test_images_are_tested_on_the_undistorted_centre(split, images):
    found = piped(split, images)['inputs'].float()
    assert found.shape == (3, 224, 224)
    # In OpenCV's order red, which holds the columns, is last.
    columns, rows = found[2], found[1]
    assert columns.mean() == pytest.approx(250 / 2, abs=1) and rows.mean() == pytest.approx(
        375 / 4, abs=1
    )
    # The short edge of 375 becomes 256, of which 224 are taken.
    extent = 224 / 256 * 375 / 2
    assert columns[0, -1] - columns[0, 0] == pytest.approx(extent, abs=2)
    assert rows[-1, 0] - rows[0, 0] == pytest.approx(extent, abs=2)


def test_a_row_trains_and_is_tested(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {
        'model.backbone.widen_factor': 0.25,
        'train_dataloader.batch_size': 1,
        'train_cfg.max_epochs': 1,
        'param_scheduler.0.T_max': 1,
        'param_scheduler.0.end': 1,
        'default_hooks.logger.interval': 3,
    }
    for split in ('train', 'val', 'test'):
        loader = f'{split}_dataloader'
        options |= {
            f'{loader}.dataset.data_root': str(images),
            f'{loader}.num_workers': 0,
            f'{loader}.dataset.ann_file': str(images / f'{split}.txt'),
            f'{loader}.persistent_workers': False,
            f'{loader}.pin_memory': False,
        }
    config = str(FOLDER / 'mbv2_dnb_r16_goup.py')
    runner = train(config, cfg_options=options, work_dir='run')
    logged = runner.message_hub.log_scalars
    hits = logged['train/accuracy_top5'].data[0]
    assert len(hits) == 4
    log = [
        json.loads(line)
        for line in next(Path('run').glob('*/vis_data/scalars.json')).read_text().splitlines()
    ]
    # The last line of training is that of the last step, and has the mean over the epoch.
    assert [row.get('iter') for row in log] == [3, 4, None]
    assert log[1]['accuracy_top5'] == sum(hits) / 4
    assert {'accuracy/top1', 'accuracy/top5'} <= set(log[2])
    assert Path('run/best_accuracy_top1_epoch_1.pth').is_file()
    # Of the four classes of Table 9 this list has one.
    found = runner.test()
    assert set(found) == {'accuracy/top1', 'accuracy/top5', 'accuracy/top1_n11939491'}
