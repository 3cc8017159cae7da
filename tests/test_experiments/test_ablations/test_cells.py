import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

from dn_mmdet.experiments.ablations.cells import (
    BASE_LR,
    CONFIG,
    FORMS,
    HIGH_LR,
    ITERATIONS,
    SC_VARIANTS,
    SLOW,
    AblationCell,
    plan,
)
from dn_mmdet.utils.errors import UserError
from dn_mmdet.utils.python39 import zip_strict


def test_every_table_of_the_paper_has_its_rows():
    tables = plan(seeds=(0, 1, 2))
    settings = {
        name: list(dict.fromkeys((c.norm, c.r, c.g, c.fuse, c.lr, c.batch_size) for c in cells))
        for name, cells in tables.items()
    }
    base = (BASE_LR, 64)
    assert settings['module'] == [
        ('BN', None, None, None, *base),
        ('SEBN', 16, None, None, *base),
        ('DNC', 16, 1, 'fc1', *base),
        ('DNC', 16, 1, 'fc2', *base),
        ('DNB', 16, 1, None, *base),
        ('DNB', 16, 'oup', None, *base),
    ]
    paper = [(c.norm, c.fuse) for c in tables['module'][6:9] if c.variant == "start='paper'"]
    assert paper == [('DNC', 'fc1'), ('DNC', 'fc2'), ('DNB', None)]
    assert [row[1] for row in settings['r']] == [8, 16, 32]
    assert [row[2] for row in settings['g']] == [1, 2, 4, 'oup']
    assert {row[4] for row in settings['learning rate']} == {BASE_LR, 2 * BASE_LR, HIGH_LR}
    assert [row[5] for row in settings['batch size']][::3] == [64, 32, 16, 8, 4, 2]
    assert HIGH_LR == 4 * BASE_LR
    for cells in tables.values():
        assert [sum(c.seed == seed for c in cells) for seed in (0, 1, 2)] == [len(cells) // 3] * 3


def test_every_cell_has_its_baseline_among_the_cells():
    cells = {cell for cells in plan().values() for cell in cells}
    assert {cell.baseline for cell in cells} <= cells


def test_names_are_unique():
    cells = {cell for cells in plan().values() for cell in cells}
    assert len({cell.name for cell in cells}) == len(cells)


def test_a_cell_changes_the_configuration_where_it_says():
    config = Config.fromfile(CONFIG)
    before = config.to_dict()
    cell = AblationCell('DNB', r=8, g='oup', lr=0.3, batch_size=4, iterations=7, seed=2)
    config.merge_from_dict(cell.options)
    # The form of the SC-Module is named, whatever the layer's default.
    norm = dict(type='DNB', r=8, g='oup', eps=1e-3, sc_input='raw')
    assert config.model.backbone.norm_cfg == norm
    assert config.optim_wrapper.optimizer.lr == 0.3 and config.randomness.seed == 2
    assert config.train_dataloader.batch_size == 4
    schedule = config.param_scheduler[0]
    assert {
        config.train_cfg.max_iters,
        config.train_cfg.val_interval,
        schedule.end,
        schedule.T_max,
        config.default_hooks.checkpoint.interval,
    } == {7}
    # Put back, nothing else differs.
    config.merge_from_dict(AblationCell(lr=0.05).options)
    after = config.to_dict()
    del after['randomness']
    for key in ('r', 'g', 'sc_input'):
        del after['model']['backbone']['norm_cfg'][key]
    before['optim_wrapper']['optimizer']['lr'] = 0.05
    assert after == before


def test_the_norms_of_all_cells_can_be_built():
    for cell in plan(seeds=(0,))['module']:
        config = Config.fromfile(CONFIG)
        config.merge_from_dict(cell.options)
        norms = [type(m).__name__ for m in MODELS.build(config.model).modules()]
        assert norms.count('BatchNorm2d' if cell.norm == 'BN' else cell.norm) == 22


def test_a_variant_reaches_the_layers_or_the_optimizer():
    found = {}
    for name in (*SC_VARIANTS, *FORMS):
        config = Config.fromfile(CONFIG)
        config.merge_from_dict(AblationCell('DNB', r=16, g=1, variant=name).options)
        model = MODELS.build(config.model)
        groups = build_optim_wrapper(model, config.optim_wrapper).param_groups
        layer = model.backbone.conv1.bn
        ours, other = (
            next(g for g in groups if any(p is weight for p in g['params']))
            for weight in (layer.sc.fc2_weight, model.backbone.conv1.conv.weight)
        )
        found[name] = (
            layer.sc_input,
            layer.detach_gap,
            layer.sc.start if name in SC_VARIANTS else (layer.sc.parameterization, layer.sc.gain),
            round(ours['lr'] / BASE_LR, 6),
            ours['weight_decay'] / 4e-5,
            other['lr'] / BASE_LR,
        )
    assert found == {
        'SC input normalised': ('normalized', False, 'identity', 1.0, 1.0, 1.0),
        'gradient stopped at g': ('raw', True, 'identity', 1.0, 1.0, 1.0),
        'SC learning rate x 0.1': ('raw', False, 'identity', 0.1, 1.0, 1.0),
        'no weight decay on SC': ('raw', False, 'identity', 1.0, 0.0, 1.0),
        "start='paper'": ('raw', False, 'paper', 1.0, 1.0, 1.0),
        'normalized_capped_sc': ('normalized', False, ('paper', 1.0), 1.0, 1.0, 1.0),
        'conditioned': ('normalized', False, ('conditioned', 1.0), 1.0, 1.0, 1.0),
        'conditioned_sqrt_bn': ('normalized', False, ('conditioned', 'sqrt_bn'), 1.0, 1.0, 1.0),
        'conditioned_bn': ('normalized', False, ('conditioned', 'bn'), 1.0, 1.0, 1.0),
    }


def test_a_variant_may_keep_its_sc_modules_at_the_usual_rate():
    factors = {
        lr: AblationCell('DNB', r=16, g='oup', variant='normalized_capped_sc', lr=lr)
        .options.get('optim_wrapper.paramwise_cfg', {})
        .get('custom_keys')
        for lr in (BASE_LR / 8, BASE_LR, HIGH_LR)
    }
    slower = {'.sc.': dict(lr_mult=0.25)}
    assert factors == {BASE_LR / 8: None, BASE_LR: None, HIGH_LR: slower}


def test_variants_that_are_asked_for_are_trained_at_every_rate_and_batch():
    usual, asked = plan(seeds=(0,)), plan(seeds=(0,), variants=['conditioned_bn', SLOW])
    for table, cells in asked.items():
        more = [cell for cell in cells if cell not in usual[table]]
        if table not in ('learning rate', 'batch size'):
            assert not more
            continue
        # One of the two is there anyway, with g='oup'.
        assert {(cell.variant, cell.g) for cell in more} == {
            ('conditioned_bn', 1),
            ('conditioned_bn', 'oup'),
            (SLOW, 1),
        }
        places = {(cell.lr, cell.batch_size) for cell in cells}
        assert len(more) == 3 * len(places) and len(set(cells)) == len(cells)
        assert {cell.baseline for cell in more} <= set(cells)
    with pytest.raises(UserError, match="no variant 'best' .*'conditioned_bn'"):
        plan(variants=['best'])


def test_smaller_batches_see_fewer_images_in_more_steps():
    sizes = sorted(ITERATIONS, reverse=True)
    steps = [ITERATIONS[size] for size in sizes]
    assert steps == sorted(steps)
    images = [size * step for size, step in zip_strict(sizes, steps)]
    assert images == sorted(images, reverse=True)
