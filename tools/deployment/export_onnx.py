"""Export a detector, a classifier or a backbone to ONNX, and check the file against PyTorch.

DN-B is folded into the convolutions. A file that does not compute what the
model does is not written. Needs the packages onnx and onnxruntime.
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
    add = parser.add_argument
    add('config', help='configuration file')
    add('checkpoint', help='checkpoint file')
    add('out', nargs='?', help='the .onnx file (default: in the work folder of the configuration)')
    add(
        '--images',
        nargs='+',
        default=(),
        metavar='IMAGE|FOLDER',
        help='images to compare with PyTorch on (default: noise)',
    )
    add(
        '--shape',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help='size of the input (default: that of the test pipeline)',
    )
    add('--part', choices=('model', 'backbone'), default='model', help='what is exported')
    add('--opset', type=int, default=17, help="version of ONNX's operators (default: 17)")
    add(
        '--dynamic-size',
        action='store_true',
        help='height and width are dynamic too (classifier or backbone)',
    )
    add(
        '--one-image',
        action='store_true',
        help='a batch is one image, which makes DN-B faster (default: any number of images)',
    )
    add(
        '--int8',
        nargs='+',
        default=(),
        metavar='IMAGE|FOLDER',
        help='quantize the convolutions to 8 bits, with ranges from these images',
    )
    CfgOptions.add_to(parser)
    return vars(parser.parse_args())


if __name__ == '__main__':
    args = parse_args()
    with user_errors():
        from dn_mmdet.deployment import export_onnx

        export_onnx(**args)
