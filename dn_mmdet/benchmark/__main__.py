"""Time one norm layer, forward and backward and in evaluation: BN against DN-B on its paths.

Both take turns in this process; a table is printed, with medians, quartiles and ratios to BN. Only
torch is needed.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from itertools import product

from ..ops.dispatch import PATHS
from ..utils.errors import UserError, user_errors
from ..utils.files import write_json
from ..utils.text import whole_number
from .case import LAYOUTS, MODES, add_case_options
from .environment import describe_environment, process_settings, usable_device
from .layer import ACTIVATIONS, LayerCase, benchmark_layer
from .tables import environment_text, group_cells, results_table

# Norms of MobileNetV2 at batch 8 and 224 pixels, from the widest maps to the smallest.
SHAPES = (
    (8, 32, 112, 112), (8, 96, 112, 112), (8, 144, 56, 56), (8, 192, 28, 28), (8, 384, 14, 14),
    (8, 960, 7, 7), (8, 1280, 7, 7),
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments (Sequence[str], optional): Defaults to those of the process.
    """
    args, cases = _parse(arguments)
    with user_errors(), process_settings(args.threads):
        report = dict(environment=describe_environment(args.device), cells=[])
        try:
            for number, case in enumerate(cases, 1):
                # tqdm, which shows other loops, would be one requirement more than torch.
                print(f'[{number}/{len(cases)}] {case.name}', file=sys.stderr, flush=True)
                report['cells'].append(_measure(case, args.paths))
                if args.json:
                    write_json(args.json, report)
        finally:
            _print(report, args)


def _parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[LayerCase]]:
    parser = argparse.ArgumentParser(
        'python -m dn_mmdet.benchmark',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_case_options(
        parser, LayerCase.repeats, "of the input; the layers' own numbers are float32", 'cpu'
    )
    add = parser.add_argument
    add(
        '--shapes',
        nargs='+',
        type=_shape,
        default=SHAPES,
        metavar='NxCxHxW',
        help='inputs, as 8x32x112x112 (default: a few of MobileNetV2)',
    )
    add(
        '--paths',
        nargs='+',
        choices=[path for path in PATHS if path != 'auto'],
        help='paths of DN-B to time (default: all available here)',
    )
    add('--activation', choices=ACTIVATIONS, help='activation after the norm; DN-B folds it in')
    add(
        '--warmup',
        type=whole_number(0),
        default=LayerCase.warmup,
        help='untimed warm-up rounds (default: %(default)s)',
    )
    add(
        '--json',
        metavar='FILE',
        help='write all numbers, with device, threads and versions, to this file',
    )
    args = parser.parse_args(arguments)
    try:
        args.device = usable_device(args.device or 'cpu')
        cases = [
            LayerCase(
                shape=shape,
                mode=mode,
                layout=layout,
                dtype=dtype,
                activation=args.activation,
                device=str(args.device),
                repeats=args.repeats or LayerCase.repeats,
                warmup=args.warmup,
            )
            for dtype, layout, shape, mode in product(
                args.dtype or ('float32',),
                args.layouts or LAYOUTS,
                args.shapes,
                args.modes or MODES,
            )
        ]
    except (UserError, ValueError) as error:
        parser.error(str(error))
    return args, cases


def _measure(case: LayerCase, paths: Sequence[str] | None) -> dict:
    try:
        return benchmark_layer(case, paths)
    except RuntimeError as error:  # Out of memory, or a dtype that the device does not know.
        raise UserError(
            f'{case.name} on {case.device} cannot be run ({str(error).splitlines()[0]}): choose '
            'another shape, dtype or device.'
        ) from error


def _print(report: dict, args: argparse.Namespace) -> None:
    if not report['cells']:
        return
    behind = f' With {args.activation} after the norm.' if args.activation else ''
    print(f'{environment_text(report["environment"])}{behind}')
    for kind, cells in group_cells(report['cells'], 'dtype', 'layout').items():
        print(f'\n{", ".join(kind)}\n')
        print(results_table(cells, 'input', lambda cell: f'{_text(cell["shape"])} {cell["mode"]}'))
    if args.json:
        print(f'\nAll numbers are in {args.json}')


def _text(shape: Sequence[int]) -> str:
    return 'x'.join(map(str, shape))


def _shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r'[1-9]\d*(x[1-9]\d*){3}', text):
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form NxCxHxW, as 8x32x112x112')
    return tuple(int(side) for side in text.split('x'))


if __name__ == '__main__':
    # A reader of the table that ends early, as head does, is not an error.
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(0)
