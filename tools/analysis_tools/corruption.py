"""Test a checkpoint on corrupted images: mean and relative performance under corruption.

Needs the package imagecorruptions: pip install imagecorruptions-imaug.
"""

import argparse
import os
import sys

os.environ.setdefault('GOMP_SPINCOUNT', '2000')  # see tools/train.py

try:
    from dn_mmdet.engine import CfgOptions
    from dn_mmdet.utils.errors import user_errors
    from dn_mmdet.utils.text import whole_number
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')


def parse_args() -> dict:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='configuration file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='folder for logs, as for tools/test.py')
    parser.add_argument('--out', metavar='FILE', help='JSON file for all metrics')
    parser.add_argument(
        '--kinds',
        nargs='+',
        metavar='NAME',
        help='corruptions (default: gaussian_noise shot_noise brightness contrast saturate fog)',
    )
    parser.add_argument(
        '--severities',
        nargs='+',
        type=whole_number(1, 5),
        metavar='N',
        help='from 1 to 5 (default: 1 3 5)',
    )
    parser.add_argument(
        '--cache', metavar='FOLDER', help='keep the corrupted images here for further checkpoints'
    )
    CfgOptions.add_to(parser)
    args = vars(parser.parse_args())
    return {key: value for key, value in args.items() if value is not None}


if __name__ == '__main__':
    args = parse_args()
    with user_errors():
        from dn_mmdet.analysis.corruption import measure_corrupted

        measure_corrupted(**args)
