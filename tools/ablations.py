"""Train the cells of the paper's ablations on the embedded digits and write its tables."""

import argparse
import os
import sys
from typing import Any

os.environ.setdefault('GOMP_SPINCOUNT', '2000')  # see tools/train.py

try:
    from dn_mmdet.utils.errors import user_errors
    from dn_mmdet.utils.text import HelpFormatter, whole_number
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')


def parse_args() -> dict[str, Any]:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument('--out', default='work_dirs/ablations', help='folder of the results')
    parser.add_argument(
        '--seeds',
        type=whole_number(0, 2**32 - 1),
        nargs='+',
        default=[0, 1, 2],
        help='seeds to train each cell with',
    )
    parser.add_argument(
        '--workers',
        type=whole_number(1),
        help='cells that train side by side, one thread each (default: one per core)',
    )
    parser.add_argument(
        '--variants',
        nargs='+',
        default=[],
        metavar='NAME',
        help='also train DN-B with these settings of the SC-Module at every learning rate and '
        'batch size (conditioned, conditioned_bn, ...)',
    )
    parser.add_argument(
        '--only',
        nargs='+',
        metavar='PATTERN',
        help="train only cells whose folder's name fits one of these, as 'bn_lr0.05_b8_*'; the "
        'tables are of all that are finished',
    )
    return vars(parser.parse_args())


if __name__ == '__main__':
    with user_errors():
        from dn_mmdet.experiments.ablations import run_ablations

        run_ablations(**parse_args())
