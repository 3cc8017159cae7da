"""Time exported models in ONNX Runtime on the CPU; they take turns in one process.

The first model is the baseline, such as the same detector with BN, whose BatchNorms are folded.
"""

import argparse
import sys

try:
    from dn_mmdet.utils.errors import user_errors
    from dn_mmdet.utils.text import whole_number
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')


def parse_args() -> dict:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('files', nargs='+', metavar='MODEL', help='.onnx files of export_onnx.py')
    add('--batch', type=whole_number(1), default=1, help='images at a time (default: 1)')
    add('--threads', type=whole_number(0), default=0, help="default: ONNX Runtime's choice")
    add('--repeats', type=whole_number(1), default=50, help='timed rounds (default: 50)')
    return vars(parser.parse_args())


if __name__ == '__main__':
    args = parse_args()
    with user_errors():
        from dn_mmdet.deployment.benchmark import benchmark_onnx

        benchmark_onnx(**args)
