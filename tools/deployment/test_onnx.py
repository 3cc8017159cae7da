"""Test a checkpoint in PyTorch, then the model exported from it in ONNX Runtime.

The metrics are those of the configuration, as for tools/test.py; with a model in 8 bits the
difference is what they cost.
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
    add('model', help='.onnx file that export_onnx.py wrote')
    add('--work-dir', help='folder for logs, as for tools/test.py')
    CfgOptions.add_to(parser)
    return vars(parser.parse_args())


if __name__ == '__main__':
    args = parse_args()
    with user_errors():
        from dn_mmdet.deployment.evaluate import evaluate_onnx

        evaluate_onnx(**args)
