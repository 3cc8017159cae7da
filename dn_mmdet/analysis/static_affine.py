"""How much of a metric is dynamic: the same network with scale and shift that stand still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..engine.preflight import run_preflight
from ..engine.run import build_runner
from ..engine.run_errors import as_user_errors
from ..engine.test import load_test_config, metrics_of_test
from ..layers.dynamic_norm import DynamicNorm
from ..layers.inspect import AffineMeans, mean_affine
from ..utils.errors import UserError
from ..utils.files import check_output_file, write_json
from ..utils.text import markdown_table

__all__ = ['StaticAffine', 'hold_affine', 'static_affine']


@dataclass(frozen=True)
class StaticAffine:
    """Metrics of a checkpoint, and of it with alpha and lambda at their means.

    Attributes:
        dynamic (dict[str, float]): As it was trained.
        static (dict[str, float]): With the means over the tested images in every layer.
    """

    dynamic: dict[str, float]
    static: dict[str, float]


def static_affine(
    config: str,
    checkpoint: str,
    work_dir: str | None = None,
    out: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> StaticAffine:
    """Test a checkpoint as it is, then with each layer's mean alpha and lambda for every image.

    The means are those over the tested images. The second network is one of plain norms: what
    it loses is what alpha and lambda owe to being made for each sample.

    Args:
        config (str): Configuration file of a detector or classifier with a dynamic norm.
        checkpoint (str): Its weights.
        work_dir (str, optional): Where logs go, as in :func:`dn_mmdet.engine.test`.
        out (str, optional): JSON file for both sets of metrics.
        cfg_options (Mapping, optional): Overrides, dotted key to value.

    Returns:
        StaticAffine: The metrics, which are printed too.

    Raises:
        UserError: A mistake in configuration, data or checkpoint, or a model without DN layers.
    """
    if out is not None:
        check_output_file(out, '--out')
    cfg = load_test_config(config, checkpoint, work_dir, cfg_options)
    notes = run_preflight(cfg, 'test')
    with as_user_errors(cfg):
        runner = build_runner(cfg, notes)
        layers = {
            name: module
            for name, module in runner.model.named_modules()
            if isinstance(module, DynamicNorm)
        }
        if not layers:
            raise UserError(
                f'{config} has no dynamic norm whose scale and shift could be held: give a '
                'configuration with norm_cfg.type DNB, DNC, DNGN, DNIN or DNLN.'
            )
        with mean_affine(layers) as means:
            dynamic = metrics_of_test(runner, checkpoint)
        hold_affine(layers, means)
        found = StaticAffine(dynamic, metrics_of_test(runner, checkpoint, dynamic))
    if out is not None:
        write_json(out, vars(found))
    print(f'\n{_table(found)}')
    return found


@torch.no_grad()
def hold_affine(layers: Mapping[str, DynamicNorm], means: Mapping[str, AffineMeans]) -> None:
    """Let layers give every sample the same alpha and lambda: the offsets, with W2 at 0."""
    for name, mean in means.items():
        layers[name].alpha_offset.copy_(mean.alpha)
        layers[name].lambda_offset.copy_(mean.shift)
        layers[name].sc.fc2_weight.zero_()


def _table(found: StaticAffine) -> str:
    rows = [['metric', 'as trained', 'alpha and lambda at their means', 'difference']]
    rows += [
        [name, f'{value:.3f}', f'{found.static[name]:.3f}', f'{found.static[name] - value:+.3f}']
        for name, value in found.dynamic.items()
    ]
    return markdown_table(rows)
