"""Compare BN with DN-B, SE + BN and GN as detectors of the embedded digits, with three seeds.

Missing runs are trained first; if interrupted, the same command resumes. The report is
compare.html.
"""

import argparse
import os
import sys
from typing import Any

# Threads that wait soon go to sleep, see tools/train.py. Read when torch is imported.
os.environ.setdefault('GOMP_SPINCOUNT', '2000')

try:
    from dn_mmdet.engine import CfgOptions
    from dn_mmdet.utils.errors import user_errors
    from dn_mmdet.utils.text import whole_number
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')


def parse_args() -> dict[str, Any]:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--work-root',
        default='work_dirs/compare',
        metavar='FOLDER',
        help='folder of the runs (default: %(default)s)',
    )
    parser.add_argument(
        '--out', metavar='FOLDER', help='folder of the report (default: that of the runs)'
    )
    parser.add_argument(
        '--seeds',
        nargs='+',
        type=whole_number(0, 2**32 - 1),
        default=[0, 1, 2],
        metavar='SEED',
        help='seeds for each arm (default: 0 1 2)',
    )
    parser.add_argument(
        '--workers',
        type=whole_number(1),
        metavar='N',
        help='runs at a time (default: one per core, or 1 with a GPU)',
    )
    parser.add_argument(
        '--extra',
        action='store_true',
        help='afterwards, of what is compared, also train BN and DN-B at four times the learning '
        'rate and, with GN and DN-GN, at batch size 2, seed 0',
    )
    parser.add_argument(
        '--variants',
        nargs='*',
        default=False,
        metavar='NAME',
        help='afterwards, also train DN-B with other SC-Module settings and another start, with '
        'all seeds; with names, these (conditioned, conditioned_bn, ...), in what --extra adds too',
    )
    parser.add_argument(
        '--arms',
        nargs='+',
        metavar='NAME',
        help='what is compared first (default: bn normalized dnb dnb_g1 sebn gn; dnb and dnb_g1 '
        'are the form of the paper; also dngn, and all variants)',
    )
    parser.add_argument(
        '--measure',
        action='store_true',
        help='also measure each detector on corrupted images and with alpha and lambda held at '
        'their means, a row in detectors.csv each; what has a row is not trained again',
    )
    CfgOptions.add_to(parser, 'settings in every run')
    args = vars(parser.parse_args())
    if args['variants'] == []:
        args['variants'] = True
    if args['arms'] is None:
        del args['arms']
    return args


if __name__ == '__main__':
    with user_errors():
        from dn_mmdet.experiments.detection import compare_embedded

        compare_embedded(**parse_args())
