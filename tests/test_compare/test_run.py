"""Configurations that are trained and compared, the trainings themselves played."""

import math
import re
import runpy
import sys
from importlib import import_module
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS

from dn_mmdet.compare import compare_configs, compare_folders
from dn_mmdet.experiments import detection as embedded
from dn_mmdet.experiments.detection import FORMS, VARIANTS, compare_embedded
from dn_mmdet.paths import configs_root, tools_root
from dn_mmdet.runs import Training
from dn_mmdet.utils.errors import UserError
from tests.helpers.work_folders import BN, DNB, start_of

NORM = {
    'bn': BN,
    'dnb': DNB,
    'dnb_g1': "dict(eps=0.001, g=1, r=16, sc_input='raw', type='DNB')",
    'sebn': "dict(eps=0.001, r=16, type='SEBN')",
    'gn': "dict(eps=0.001, num_groups=8, type='GN')",
    'dngn': "dict(eps=0.001, g='oup', num_groups=8, r=16, type='DNGN')",
}
# mAP of an arm with seed 0; each further seed adds a tenth.
VALUE = {'bn': 0.2, 'dnb': 0.3, 'dnb_g1': 0.25, 'sebn': 0.22, 'gn': 0.1, 'dngn': 0.12}
DIVERGED = '2026/01/01 00:00:09 - mmengine - ERROR - the loss is nan at iteration 7 (epoch 1)\n'


@pytest.fixture
def played(tmp_path, monkeypatch):
    """Trainings that leave logs and checkpoints; returns the names of those that were run."""
    monkeypatch.chdir(tmp_path)
    ran = []

    def run(self, report, threads=None):
        self.prepare()
        arm = re.sub('(ssdlite_)?mbv2_|_digits', '', self.config.stem)
        ran.append(self.name)
        seen = self.options.get('model.backbone.norm_cfg.sc_input', 'raw')
        settings = dict(seed=self.seed, norm=NORM[arm].replace('raw', seen), epochs=2)
        if self.after:
            settings['checkpoint'] = str(self.after[0].checkpoint)
        what = self.config.parent.joinpath(f'{arm}_does.txt')
        does = what.read_text() if what.exists() else ''
        if does == 'diverge':
            start_of(self.work_dir, [0.0], log_tail=DIVERGED, **settings)
            raise UserError(f'{self.name} ended with status 1: the loss is nan')
        if does == 'fail':
            raise UserError(f'{self.name} ended with status 1: no space')
        start_of(
            self.work_dir, [0.1, VALUE[arm] + self.seed / 10 + len(self.options) / 1000], **settings
        )
        self.checkpoint.touch()
        self.work_dir.joinpath('last_checkpoint').write_text(str(self.checkpoint))

    monkeypatch.setattr(Training, 'run', run)
    # Has its tests in test_report.py, and takes seconds.
    monkeypatch.setattr(
        import_module('dn_mmdet.compare.run'), 'count_sizes', lambda groups: ({}, [])
    )
    return ran


@pytest.fixture
def configs(tmp_path):
    files = [tmp_path / 'bn.py', tmp_path / 'dnb.py', tmp_path / 'gn.py']
    for file in files:
        file.write_text('train_cfg = dict(max_epochs=2)\n')
    return files


def quick(configs, **settings):
    return compare_configs(configs, workers=1, **{'seeds': (0, 1), 'test': False, **settings})


def test_missing_runs_are_trained_seed_by_seed_and_compared(played, configs):
    comparison = quick(configs)
    assert played == [
        'bn, seed 0',
        'dnb, seed 0',
        'gn, seed 0',
        'bn, seed 1',
        'dnb, seed 1',
        'gn, seed 1',
    ]
    assert [str(run.work_dir) for run in comparison.group('DN-B (16, oup)').runs] == [
        'work_dirs/compare/dnb/seed_0',
        'work_dirs/compare/dnb/seed_1',
    ]
    assert comparison.claims[0].difference.mean == pytest.approx(0.1)
    assert Path('work_dirs/compare/compare.html').is_file()
    quick(configs, seeds=(0, 1, 2), out='elsewhere')
    assert played[6:] == ['bn, seed 2', 'dnb, seed 2', 'gn, seed 2']
    assert Path('elsewhere/compare.md').is_file()


def test_a_diverged_arm_is_a_result_and_a_failed_one_is_named(played, configs, tmp_path, capsys):
    (tmp_path / 'gn_does.txt').write_text('diverge')
    (tmp_path / 'dnb_does.txt').write_text('fail')
    comparison = quick(configs)
    assert len(played) == 6
    assert [group.label for group in comparison.groups] == ['BN', 'GN, num_groups=8']
    assert comparison.groups[1].diverged == (0, 1)
    report = Path('work_dirs/compare/compare.md').read_text()
    assert 'work_dirs/compare/gn/seed_0 (seed 0) diverged: its log says: the loss is nan' in report
    assert report.count('work_dirs/compare/dnb/seed_1: ') == 1
    assert 'dnb, seed 1: failed: dnb, seed 1 ended with status 1: no space' in (
        capsys.readouterr().out
    )
    # What diverged would diverge again; what failed for another reason may not.
    (tmp_path / 'dnb_does.txt').write_text('')
    comparison = quick(configs)
    assert played[6:] == ['dnb, seed 0', 'dnb, seed 1']
    assert 'gn, seed 0: diverged: its log says: the loss is nan at iteration 7' in (
        capsys.readouterr().out
    )
    assert len(comparison.groups) == 3


def test_bad_input_is_refused_before_anything_is_trained(played, configs, tmp_path):
    with pytest.raises(UserError, match='two configurations are named bn, so their folders would'):
        quick([configs[0], tmp_path / 'other' / 'bn.py'])
    with pytest.raises(UserError, match='there is no configuration file .*nowhere.py'):
        quick([configs[0], tmp_path / 'nowhere.py'])
    with pytest.raises(UserError, match='a comparison needs two configurations'):
        quick(configs[:1])
    assert played == []


def test_an_interrupt_says_how_to_go_on(played, configs, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr('dn_mmdet.compare.run.run_all', interrupted)
    with pytest.raises(KeyboardInterrupt, match='the same command resumes each run'):
        quick(configs)


@pytest.fixture
def benchmark(played, monkeypatch):
    monkeypatch.setattr(embedded, 'build_digits_coco', lambda folder: None)
    return played


@pytest.fixture
def planned(benchmark, monkeypatch):
    """The trainings of the embedded benchmark by their names, none of which is run."""
    given = {}
    monkeypatch.setattr(embedded, 'compare_runs', lambda *_, **__: None)
    monkeypatch.setattr(
        embedded,
        'train_missing',
        lambda trainings, *_: given.update({training.name: training for training in trainings}),
    )
    return given


def test_the_embedded_benchmark_is_trained_seed_by_seed(benchmark, monkeypatch):
    found = {}

    def compare(folders, out, failed, test):
        assert test and not failed  # the data is here, so that images can be looked at too
        found[str(out)] = compare_folders(folders)

    monkeypatch.setattr(embedded, 'compare_runs', compare)
    options = {'train_cfg.max_epochs': 2}
    compare_embedded(seeds=(0, 1), workers=1, cfg_options=options)
    assert len(benchmark) == len(set(benchmark)) == 24
    assert [name[-1] for name in benchmark] == ['0'] * 12 + ['1'] * 12
    assert benchmark[:4] == [
        'pretrain BN, seed 0',
        'train BN, seed 0',
        'pretrain DN-B (16, oup), normalized, seed 0',
        'train DN-B (16, oup), normalized, seed 0',
    ]
    comparison = found.pop('work_dirs/compare')
    assert [group.label for group in comparison.groups] == [
        'BN',
        'DN-B (16, 1)',
        'DN-B (16, oup)',
        'DN-B (16, oup), sc_input=normalized',
        'GN, num_groups=8',
        'SE + BN (16)',
    ]
    assert {len(group.runs) for group in comparison.groups} == {2}
    assert comparison.warnings == []
    # A rate and a batch size of their own, from the same pretrained backbones.
    compare_embedded(seeds=[0], workers=1, extra=True, out='x', cfg_options=options)
    assert benchmark[24:] == [
        'train BN, lr_x4, seed 0',
        'train DN-B (16, oup), normalized_lr_x4, seed 0',
        'train DN-B (16, oup), lr_x4, seed 0',
        'train BN, batch_2, seed 0',
        'train DN-B (16, oup), normalized_batch_2, seed 0',
        'train DN-B (16, oup), batch_2, seed 0',
        'train GN, batch_2, seed 0',
    ]
    assert list(found) == ['x', 'x/lr_x4', 'x/batch_2']
    assert [run.work_dir for run in found['x/lr_x4'].runs] == [
        f'work_dirs/compare/ssdlite_mbv2_{arm}_lr_x4/seed_0'
        for arm in ('bn_digits', 'dnb_digits', 'dnb_digits_normalized')
    ]


def test_variants_are_compared_with_bn_and_the_arm_that_they_change(benchmark, monkeypatch):
    found = {}
    monkeypatch.setattr(
        embedded,
        'compare_runs',
        lambda folders, out, **_: found.update({str(out): compare_folders(folders)}),
    )
    compare_embedded(seeds=[3], workers=1, variants=True, out='x')
    assert list(found) == ['x', 'x/variants']
    comparison = found['x/variants']
    assert [group.label for group in comparison.groups][0] == 'BN'
    assert (
        len(comparison.groups)
        == len(comparison.runs)
        == len(VARIANTS) + len({'bn', *(variant.arm for variant in VARIANTS.values())})
    )
    # What is not changed is not trained again.
    assert len(benchmark) == len(set(benchmark))
    assert len(benchmark) == 12 + sum(
        1 + (variant.backbone is None) for name, variant in VARIANTS.items() if name != 'normalized'
    )


@pytest.mark.parametrize(
    'name', [name for name, v in {**VARIANTS, **FORMS}.items() if v.max_sc_lr is None]
)
def test_a_variant_changes_both_trainings_or_names_another_backbone(name, planned):
    compare_embedded(seeds=[0], variants=[name])
    variant = {**VARIANTS, **FORMS}[name]
    folder = f'work_dirs/compare/ssdlite_mbv2_{variant.arm}_digits_{name}/seed_0'
    detector = {training.work_dir: training for training in planned.values()}[Path(folder)]
    (first,) = detector.after
    for key, value in variant.options.items():
        assert detector.options[key] == value
    start = variant if variant.backbone is None else VARIANTS.get(variant.backbone)
    assert {key: first.options.get(key) for key in variant.options} == {
        key: start and start.options.get(key) for key in variant.options
    }
    stem = start.arm if start else variant.backbone
    assert first.config.stem == f'mbv2_{stem}_digits'
    # Every key is one that the configuration, or the layer, has.
    config = Config.fromfile(detector.config)
    config.merge_from_dict(detector.options)
    norm = dict(config.model.backbone.norm_cfg)
    assert MODELS.build(dict(norm, num_features=32)).sc is not None


def test_named_variants_stand_in_the_extra_settings_too(benchmark, monkeypatch):
    found = {}
    monkeypatch.setattr(
        embedded,
        'compare_runs',
        lambda folders, out, **_: found.update({str(out): [Path(f).parent.name for f in folders]}),
    )
    names = ['conditioned_bn', 'g1_conditioned']
    compare_embedded(seeds=[0, 1], workers=1, extra=True, variants=names, out='x')
    assert list(found) == ['x', 'x/lr_x4', 'x/batch_2', 'x/variants']
    few, default = ['bn_digits', 'dnb_digits'], ['dnb_digits_normalized']
    more = ['dnb_g1_digits', 'dnb_digits_conditioned_bn', 'dnb_g1_digits_g1_conditioned']
    for place, end, groups in (
        ('lr_x4', '_lr_x4', [few[0], *default, few[1]]),
        ('batch_2', '_batch_2', [few[0], *default, few[1], 'gn_digits']),
        ('variants', '', few),
    ):
        arms = [*groups, *more]
        assert found[f'x/{place}'] == [f'ssdlite_mbv2_{arm}{end}' for arm in arms] * 2
    # Each backbone is pretrained once, whatever the detector's rate.
    assert len(benchmark) == len(set(benchmark)) == 2 * (2 * 6 + 2 + 6 + 7 + 2)
    assert 'train DN-B (16, oup), conditioned_bn_lr_x4, seed 1' in benchmark
    with pytest.raises(UserError, match="no variant 'best': .*conditioned_bn"):
        compare_embedded(variants=['best'])


def test_a_variant_may_keep_its_sc_modules_at_the_usual_rate(planned):
    name = 'normalized_capped_sc'
    compare_embedded(seeds=[0], arms=['bn'], extra=True, variants=['normalized', name])
    plain, capped = (
        planned[f'train DN-B (16, oup), {variant}_lr_x4, seed 0']
        for variant in ('normalized', name)
    )
    # Both start from the same backbone.
    assert capped.after == plain.after
    slower = {'optim_wrapper.paramwise_cfg': dict(custom_keys={'.sc.': dict(lr_mult=0.25)})}
    assert capped.options == {**plain.options, **slower}
    # At a lower rate the two are one.
    assert [key for key in planned if name in key] == [capped.name]


def test_arms_start_from_their_own_seed_and_are_given_the_same(planned):
    compare_embedded(seeds=[4], cfg_options={'auto_scale_lr': None})
    detectors = [training for training in planned.values() if training.after]
    assert len(planned) == 12 and len(detectors) == 6
    for training in detectors:
        (first,) = training.after
        assert training.seed == first.seed == 4 and training.work_dir.name == 'seed_4'
        assert training.config.stem == f'ssdlite_{first.config.stem}'
        assert training.checkpoint.name == 'epoch_4.pth' and first.checkpoint.name == 'epoch_3.pth'
        options = [
            {key: value for key, value in each.options.items() if '.norm_cfg.' not in key}
            for each in (training, detectors[0])
        ]
        assert options[0] == options[1] and 'auto_scale_lr' in options[0]
    # The default form beside the paper's.
    seen = [training.options.get('model.backbone.norm_cfg.sc_input') for training in detectors]
    assert seen == [None, 'normalized', 'raw', 'raw', None, None]


@pytest.mark.parametrize('arm', [arm for arm in embedded.ARMS if arm != 'bn'])
@pytest.mark.parametrize('name', ['mbv2_{}_digits.py', 'ssdlite_mbv2_{}_digits.py'])
def test_arms_differ_in_norm_cfg_and_checkpoint_alone(name, arm):
    found = []
    for part in ('bn', arm):
        config = Config.fromfile(configs_root() / 'digits' / name.format(part)).to_dict()
        found.append(config['model']['backbone'].pop('norm_cfg'))
        if 'ssdlite' in name:
            start = config['model']['backbone']['init_cfg'].pop('checkpoint')
            assert start == f'work_dirs/mbv2_{part}_digits/epoch_3.pth'
        found.append(config)
    assert found[1] == found[3]
    assert found[0]['type'] == 'BN' and found[2]['type'] != 'BN'
    assert found[0]['eps'] == found[2]['eps'] == 1e-3
    form = embedded.ARM_OPTIONS.get(arm, {})
    norm = found[2] | {key.rpartition('.')[2]: value for key, value in form.items()}
    assert [part for key, part in NORM.items() if eval(part) == norm] == [NORM[arm]]


def test_extra_settings_are_those_of_the_recipe_scaled():
    config = Config.fromfile(configs_root() / 'digits/ssdlite_mbv2_bn_digits.py')
    rate, batch = config.optim_wrapper.optimizer.lr, config.train_dataloader.batch_size
    assert embedded.EXTRAS['lr_x4'] == {'optim_wrapper.optimizer.lr': 4 * rate}
    small = embedded.EXTRAS['batch_2']
    assert math.isclose(small['optim_wrapper.optimizer.lr'], rate * 2 / batch)
    config.merge_from_dict(small)
    cosine = config.param_scheduler[1]
    assert config.train_cfg.max_epochs == cosine.end == cosine.T_max == 1
    assert cosine.type == 'CosineAnnealingLR' and config.train_dataloader.batch_size == 2


def run_tool(name, arguments, monkeypatch):
    tool = str(tools_root() / name)
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
    runpy.run_path(tool, run_name='__main__')


def test_the_tools(played, configs, monkeypatch, capsys):
    compare, given = 'analysis_tools/compare.py', []
    monkeypatch.setattr(
        import_module('dn_mmdet.compare.run'),
        'compare_runs',
        lambda folders, **all: given.append((list(map(str, folders)), all)),
    )
    run_tool(
        compare,
        [
            '--configs',
            *configs[:2],
            '--seeds',
            3,
            '--work-root',
            'runs',
            '--workers',
            1,
            '--cfg-options',
            'preflight.images=False',
            '--out',
            'there',
        ],
        monkeypatch,
    )
    assert played == ['bn, seed 3', 'dnb, seed 3']
    ((folders, settings),) = given
    assert folders == ['runs/bn/seed_3', 'runs/dnb/seed_3']
    # The data is here, so that images can be looked at too.
    assert settings['test'] is True and settings['out'] == 'there'
    for arguments, told in (
        (['a', '--configs', 'b'], 'give work folders or --configs'),
        ([], 'give work folders or --configs'),
        (['a', '--work-root', 'b'], '--work-root goes with --configs'),
    ):
        with pytest.raises(SystemExit) as left:
            run_tool(compare, arguments, monkeypatch)
        assert left.value.code == 2 and told in capsys.readouterr().err
    monkeypatch.setattr(
        'dn_mmdet.experiments.detection.compare_embedded', lambda **all: given.append(all)
    )
    run_tool('compare_digits.py', ['--seeds', 0, 5, '--extra', '--out', 'x'], monkeypatch)
    assert given[1:] == [
        dict(
            work_root='work_dirs/compare',
            out='x',
            seeds=[0, 5],
            workers=None,
            extra=True,
            variants=False,
            measure=False,
            cfg_options=None,
        )
    ]
    for arguments, expected in (([], True), (['conditioned', 'normalized'],) * 2):
        run_tool('compare_digits.py', ['--variants', *arguments], monkeypatch)
        assert given[-1]['variants'] == expected
