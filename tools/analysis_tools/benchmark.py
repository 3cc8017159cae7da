"""Time and memory of whole models: BN, DN-B, naive DN-B, SE + BN and GroupNorm side by side.

All norms take turns in one process; medians with quartiles, ratios to BN, saved and peak memory go
to a table, a JSON file and a picture. If it is interrupted, the same command continues.
--preset growth tells how DN-B's cost grows with batch, resolution, width, threads, r and g, and
what its layers take of a step beside the bytes that they must move.
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

# Options that say what is measured, and what the package calls some of them.
CHOICES = ['models', 'norms', 'batch', 'size', 'modes', 'layouts', 'dtype', 'repeats']
CHOICES += ['optimizer', 'compile']
NAMES = dict(batch='batches', size='sizes', dtype='dtypes')


def parse_args() -> tuple[argparse.Namespace, dict]:
    from dn_mmdet.benchmark.case import add_case_options, whole_number
    from dn_mmdet.benchmark.models import NORMS, PRESETS, ModelCase

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        '--preset',
        choices=tuple(PRESETS),
        help='a predefined set of cases, instead of the options that select what is measured: cpu '
        'takes ten minutes on two quiet cores and runs on two threads, growth twelve',
    )
    add(
        '--models',
        nargs='+',
        metavar='MODEL',
        help='mbv2 (default), or configurations of detectors or classifiers, whose backbone norms '
        'are replaced',
    )
    add(
        '--norms',
        nargs='+',
        choices=tuple(NORMS),
        help='norms to measure besides BN (default: all up to GN): '
        + ', '.join(f'{key} ({norm.label})' for key, norm in NORMS.items()),
        metavar='NORM',
    )
    add('--batch', nargs='+', type=whole_number(1), help='batch sizes (default: 8)')
    add(
        '--size',
        nargs='+',
        type=whole_number(1),
        help='heights and widths in pixels (default: 224)',
    )
    add_case_options(
        parser,
        ModelCase.repeats,
        'input dtypes; others than float32 use autocast',
        'that of the preset, or cpu',
    )
    add(
        '--optimizer',
        action='store_true',
        default=None,
        help='include an SGD update in the training step',
    )
    add('--compile', action='store_true', default=None, help='time models under torch.compile')
    add(
        '--out',
        default='work_dirs/benchmark',
        metavar='FOLDER',
        help='folder of benchmark.json, benchmark.md and ratios.png, or of growth.json, growth.md '
        'and growth.png (default: %(default)s)',
    )
    add(
        '--check',
        action='store_true',
        help="exit with status 1 if DN-B exceeds one of the report's limits",
    )
    args = parser.parse_args()
    given = [name for name in CHOICES if getattr(args, name) is not None]
    if args.preset and given:
        parser.error(f'--preset says what is measured: leave out --{" --".join(given)}')
    if args.preset == 'growth' and (args.threads or args.check):
        parser.error(
            '--preset growth says the threads of each case and has no limits: leave out --threads '
            'and --check'
        )
    return args, {NAMES.get(name, name): getattr(args, name) for name in given}


def main() -> int:
    with user_errors():
        args, given = parse_args()
        from dn_mmdet.benchmark.models import PRESETS, grid, run_benchmark

        cases = PRESETS[args.preset] if args.preset else grid(**given)
        device = args.device or ('cuda' if args.preset == 'cuda' else 'cpu')
        threads = args.threads or (2 if args.preset in ('cpu', 'growth') else None)
        report = 'growth' if args.preset == 'growth' else 'benchmark'
        met = run_benchmark(cases, args.out, device, threads, report)
        return 1 if args.check and not met else 0


if __name__ == '__main__':
    sys.exit(main())
