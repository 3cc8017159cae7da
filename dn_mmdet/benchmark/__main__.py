"""Time one norm layer, forward and backward and in evaluation: BN against DN-B on its paths.

Both take turns in this process; a table is printed, with medians, quartiles and ratios to BN. Only
torch is needed.
"""

import argparse
import os
import re
import sys

import torch

from ..ops.dispatch import PATHS
from ..utils.files import write_json
from .environment import LAYOUTS, MODES, describe_environment, process_settings
from .layer import ACTIVATIONS, Case, benchmark_layer
from .tables import results_table

# Norms of MobileNetV2 at batch 8 and 224 pixels, from the widest maps to the smallest.
SHAPES = (
    (8, 32, 112, 112), (8, 96, 112, 112), (8, 144, 56, 56), (8, 192, 28, 28), (8, 384, 14, 14),
    (8, 960, 7, 7), (8, 1280, 7, 7),
)  # fmt: skip
DTYPES = ('float32', 'bfloat16', 'float16')


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments (list[str], optional): Default: those of the process.
    """
    parser = _parser()
    args = parser.parse_args(arguments)
    device = _device(args.device, parser)
    cases = [
        _case(parser, shape, dtype, layout, mode, args.activation, str(device))
        for dtype in args.dtype
        for layout in args.layout
        for shape in args.shapes
        for mode in args.modes
    ]
    report = dict(activation=args.activation, repeats=args.repeats, warmup=args.warmup, rows=[])
    try:
        with process_settings(args.threads):
            report = dict(environment=describe_environment(device), **report)
            for number, case in enumerate(cases, 1):
                _progress(f'[{number}/{len(cases)}] {_text(case.shape)} {case.mode}, {case.dtype}, '
                          f'{case.layout}')  # fmt: skip
                report['rows'] += _measure(case, args)
                if args.json:
                    write_json(args.json, report)
    except KeyboardInterrupt:
        _print(report, args)
        sys.exit(130)
    _print(report, args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        'python -m dn_mmdet.ops.benchmark',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        '--shapes',
        nargs='+',
        type=_shape,
        default=SHAPES,
        metavar='NxCxHxW',
        help='inputs, as 8x32x112x112; by default a few of MobileNetV2',
    )
    add('--modes', nargs='+', choices=MODES, default=MODES)
    add(
        '--dtype',
        nargs='+',
        choices=DTYPES,
        default=['float32'],
        help="of the input; the layers' own numbers are float32 (default: float32)",
    )
    add('--layout', nargs='+', choices=tuple(LAYOUTS), default=list(LAYOUTS))
    add(
        '--paths',
        nargs='+',
        choices=[path for path in PATHS if path != 'auto'],
        help='of DN-B; by default all that run here',
    )
    add('--activation', choices=ACTIVATIONS, help='behind the norm; DN-B folds it in')
    add('--device', default='cpu', help='cpu, cuda or cuda:N (default: cpu)')
    add('--threads', type=_positive, help='default: as torch chooses')
    add('--repeats', type=_positive, default=15, help='timed rounds (default: 15)')
    add('--warmup', type=int, default=3, help='untimed rounds before (default: 3)')
    add('--json', metavar='FILE', help='all numbers, with device, threads and versions')
    return parser  # fmt: skip


def _measure(case: Case, args: argparse.Namespace) -> list[dict]:
    try:
        rows = benchmark_layer(case, args.paths, args.repeats, args.warmup)
    except RuntimeError as error:  # Out of memory, or a dtype that the device does not know.
        text = str(error).splitlines()[0]
        sys.exit(f'error: {_text(case.shape)} in {case.dtype} on {case.device} cannot be run '
                 f'({text}): choose another shape, dtype or device.')  # fmt: skip
    missing = set(args.paths or ()) - {row['path'] for row in rows}
    if missing:
        _progress(f'not for this input, or not built: {", ".join(sorted(missing))}')
    return rows


def _print(report: dict, args: argparse.Namespace) -> None:
    rows = report['rows']
    if not rows:
        return
    machine = report['environment']
    print(f'{machine["device"] if machine["device"] != "cpu" else machine["cpu"]}, '
          f'{machine["threads"]} threads, torch {machine["torch"]}, dn_mmdet '
          f'{machine["dn_mmdet"]}; {args.repeats} rounds'
          f'{f"; {args.activation} behind the norm" if args.activation else ""}')  # fmt: skip
    for dtype, layout in dict.fromkeys((row['dtype'], row['layout']) for row in rows):
        chosen = [row for row in rows if (row['dtype'], row['layout']) == (dtype, layout)]
        print(f'\n{dtype}, {layout}\n')
        print(results_table([(f'{_text(r["shape"])} {r["mode"]}', r) for r in chosen], 'input'))
    if args.json:
        print(f'\nAll numbers are in {args.json}')


def _case(parser: argparse.ArgumentParser, *fields) -> Case:
    try:
        return Case(*fields)
    except ValueError as error:
        parser.error(str(error))


def _device(text: str, parser: argparse.ArgumentParser) -> torch.device:
    try:
        device = torch.device(text)
        if device.type not in ('cpu', 'cuda'):
            parser.error(f'--device must be cpu or cuda, got {text!r}')
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        parser.error(f'--device {text} cannot be used ({str(error).splitlines()[0]})')
    return device


def _shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r'[1-9]\d*(x[1-9]\d*){3}', text):
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form NxCxHxW, as 8x32x112x112')
    return tuple(int(side) for side in text.split('x'))


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of 1 or more')
    return int(text)


def _text(shape) -> str:
    return 'x'.join(map(str, shape))


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == '__main__':
    # A reader of the table that ends early, as head does, is no error.
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(0)
