"""Count parameters and multiply-adds; needs neither data nor a checkpoint.

`complexity.py CONFIG` counts the model of a configuration, detector or classifier. `complexity.py
--paper` counts every model of the paper and compares: it exits with 1 if a row does not match.
"""

import argparse
import os
import sys

# Threads that wait soon go to sleep, see tools/train.py. Read when torch is imported.
os.environ.setdefault('GOMP_SPINCOUNT', '2000')

try:
    from dn_mmdet.engine import CfgOptions
    from dn_mmdet.utils.errors import user_errors
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', nargs='?', help='configuration file')
    parser.add_argument('--paper', action='store_true', help="compare with the paper's figures")
    parser.add_argument(
        '--shape',
        nargs='+',
        type=int,
        metavar=('H', 'W'),
        help='height and width of the image, one number for a square; by default those of the test '
        'pipeline or of input_size, and 224 for a classifier without either',
    )
    parser.add_argument(
        '--per-module',
        nargs='?',
        type=int,
        const=3,
        metavar='DEPTH',
        help='also list submodules, DEPTH levels deep (3 if no number is given); by default only '
        'backbone, neck and head are listed',
    )
    CfgOptions.add_to(parser)
    args = parser.parse_args()
    options = (args.shape, args.per_module, args.cfg_options)
    if args.paper == bool(args.config):
        parser.error('give either a configuration or --paper')
    if args.paper and any(option is not None for option in options):
        parser.error('--paper takes no other option: each model has its own size there')
    if args.shape and len(args.shape) == 1:
        args.shape *= 2
    return args


def main() -> None:
    args = parse_args()
    with user_errors():
        from dn_mmdet.analysis import print_config_complexity, print_paper_table

        if args.paper:
            return 0 if print_paper_table() else 1
        depth = 1 if args.per_module is None else args.per_module
        print_config_complexity(args.config, args.shape, depth, args.cfg_options)
    return 0


if __name__ == '__main__':
    sys.exit(main())
