"""Write weights that were trained with BatchNorm as a checkpoint of a DN-B model.

The model then computes what it did with BatchNorm. The weights may have the names of mmdet,
mmpretrain, torchvision or Keras (.npz, or .h5 with the package h5py).
"""

import argparse
import os
import sys

os.environ.setdefault('GOMP_SPINCOUNT', '2000')  # see tools/train.py

try:
    from dn_mmdet.engine import CfgOptions
    from dn_mmdet.utils.errors import user_errors
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')


def parse_args() -> dict:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='configuration of a detector or classifier with DN-B')
    parser.add_argument('checkpoint', help='file or address of the weights')
    parser.add_argument(
        'out', nargs='?', help='file to write (default: checkpoints/<name of the weights>_dnb.pth)'
    )
    parser.add_argument(
        '--report',
        nargs='+',
        metavar='IMAGES',
        help='image files or folders, on which the model is compared with its BatchNorm twin',
    )
    parser.add_argument(
        '--keep-bn',
        action='store_true',
        help='write the weights with BatchNorm under the names of the model, for the baseline',
    )
    CfgOptions.add_to(parser)
    return vars(parser.parse_args())


def main() -> None:
    args = parse_args()
    with user_errors():
        from dn_mmdet.analysis.bn_to_dnb import bn_to_dnb

        bn_to_dnb(**args)


if __name__ == '__main__':
    main()
