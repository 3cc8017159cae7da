"""Draw and tabulate alpha and lambda of a model's norm layers on given images (Figure 5)."""

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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='configuration file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        'images',
        nargs='+',
        help='image files, folders of images, or a folder with one subfolder per class',
    )
    parser.add_argument('--out', help='output folder (default: affine/ in the work folder)')
    parser.add_argument(
        '--layers',
        nargs='+',
        default=(),
        metavar='NAME',
        help='layers to draw; by default the first and the last dynamic norm',
    )
    parser.add_argument(
        '--per-class',
        type=whole_number(1),
        default=10,
        help='images per class folder (default: %(default)s)',
    )
    CfgOptions.add_to(parser)
    return vars(parser.parse_args())


def main() -> None:
    args = parse_args()
    with user_errors():
        from dn_mmdet.analysis.visualize_affine import visualize_affine

        visualize_affine(**args)


if __name__ == '__main__':
    main()
