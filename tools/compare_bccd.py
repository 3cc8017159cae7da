"""Compare BN with forms of DN-B, SE + BN and frozen BN on photographs of blood cells (BCCD).

Runs that have no row in bccd.csv are trained and measured; if interrupted, the same command
resumes. Needs the data (configs/bccd/README.md) and the package imagecorruptions:
pip install imagecorruptions-imaug.
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
        '--work-root', metavar='FOLDER', help='folder of the runs (default: work_dirs/bccd)'
    )
    parser.add_argument(
        '--out',
        metavar='FOLDER',
        help='folder of bccd.csv and bccd.md (default: that of the runs)',
    )
    parser.add_argument(
        '--seeds',
        nargs='+',
        type=whole_number(0, 2**32 - 1),
        metavar='SEED',
        help='seeds for each arm (default: 0 1 2)',
    )
    parser.add_argument(
        '--arms',
        nargs='+',
        metavar='NAME',
        help='arms to train (default: bn dnb normalized conditioned_sqrt_bn conditioned_bn '
        'g1_conditioned_bn sebn bn_frozen)',
    )
    parser.add_argument(
        '--workers',
        type=whole_number(1),
        metavar='N',
        help='runs at a time (default: one per core, or 1 with a GPU)',
    )
    parser.add_argument(
        '--checkpoint', metavar='FILE', help="weights of the backbone (default: OpenMMLab's)"
    )
    parser.add_argument(
        '--report', action='store_true', help='only write the report of the rows in bccd.csv'
    )
    CfgOptions.add_to(parser, 'settings in every run')
    return {key: value for key, value in vars(parser.parse_args()).items() if value is not None}


if __name__ == '__main__':
    args = parse_args()
    with user_errors():
        from dn_mmdet.experiments.bccd import compare_bccd

        compare_bccd(**args)
