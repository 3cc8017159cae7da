"""Time and memory of whole models: BN, DN-B, naive DN-B, SE + BN and GroupNorm side by side.

All norms take turns in one process; medians with quartiles, ratios to BN, saved and peak memory go
to a table, a JSON file and a picture. Interrupted, the same command goes on.
"""

import argparse
import os
import sys

# Threads that wait soon go to sleep, see tools/train.py. Read when torch is imported.
os.environ.setdefault('GOMP_SPINCOUNT', '2000')

try:
    from dn_mmdet.utils.errors import user_errors
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')


def parse_args():
    from dn_mmdet.benchmark import LAYOUTS, MODES
    from dn_mmdet.benchmark.models import NORMS, PRESETS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--preset',
        choices=tuple(PRESETS),
        help='a set of cells in place of the options up to '
        '--optimizer: cpu takes nine minutes on two quiet cores and runs on two threads',
    )
    parser.add_argument(
        '--models',
        nargs='+',
        metavar='MODEL',
        help='mbv2 (default), or configurations of '
        'detectors or classifiers, the norms of whose backbone are exchanged',
    )
    parser.add_argument(
        '--norms',
        nargs='+',
        choices=tuple(NORMS),
        help='beside BN; by default all: '
        + ', '.join(f'{key} ({norm.label})' for key, norm in NORMS.items()),
        metavar='NORM',
    )
    parser.add_argument('--batch', nargs='+', type=positive, help='batch sizes (default: 8)')
    parser.add_argument(
        '--size', nargs='+', type=positive, help='heights and widths in pixels (default: 224)'
    )
    parser.add_argument('--modes', nargs='+', choices=MODES, help='default: both')
    parser.add_argument('--layouts', nargs='+', choices=tuple(LAYOUTS), help='default: both')
    parser.add_argument(
        '--dtype',
        nargs='+',
        choices=('float32', 'bfloat16', 'float16'),
        help='default: float32; the others by autocast',
    )
    parser.add_argument('--repeats', type=positive, help='timed rounds (default: 9)')
    parser.add_argument(
        '--optimizer',
        action='store_true',
        default=None,
        help='end the training step with one of SGD',
    )
    parser.add_argument(
        '--device', help='cpu, cuda or cuda:N (default: that of the preset, or cpu)'
    )
    parser.add_argument('--threads', type=positive, help='of a CPU; default: as torch chooses')
    parser.add_argument(
        '--out',
        default='work_dirs/benchmark',
        metavar='FOLDER',
        help='folder of benchmark.json, benchmark.md and ratios.png (default: %(default)s)',
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='exit with 1 where a limit on the cost of DN-B, a bar of the report, is missed',
    )
    args = parser.parse_args()
    names = (
        'models',
        'norms',
        'batch',
        'size',
        'modes',
        'layouts',
        'dtype',
        'repeats',
        'optimizer',
    )
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.preset and given:
        parser.error(f'--preset says what is measured: leave out --{" --".join(given)}')
    return args, given


def positive(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of 1 or more')
    return int(text)


def main():
    with user_errors():
        args, given = parse_args()
        from dn_mmdet.benchmark.models import PRESETS, grid, run_benchmark

        names = dict(batch='batches', size='sizes', dtype='dtypes')
        given = {names.get(name, name): value for name, value in given.items()}
        cells = PRESETS[args.preset] if args.preset else grid(**given)
        device = args.device or args.preset or 'cpu'
        threads = args.threads or (2 if args.preset == 'cpu' else None)
        met = run_benchmark(cells, args.out, device, threads)
        return 1 if args.check and not met else 0


if __name__ == '__main__':
    sys.exit(main())
