"""Publish a checkpoint: `python tools/model_converters/publish_model.py CHECKPOINT [options]`.

Weights and plain metadata, without the state of the training, in a file with its hash in the name.
"""

import argparse
import sys

try:
    from dn_mmdet.utils.errors import user_errors
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')


def parse_args() -> dict:
    parser = argparse.ArgumentParser(description='Publish a checkpoint')
    parser.add_argument('checkpoint', help='checkpoint of a classifier or a detector')
    parser.add_argument(
        '--out', default='checkpoints', help='folder to write to (default: %(default)s)'
    )
    parser.add_argument(
        '--name', help='file name before the hash (default: that of the experiment)'
    )
    parser.add_argument(
        '--backbone-only', action='store_true', help="keep only the weights under 'backbone.'"
    )
    parser.add_argument(
        '--half',
        action='store_true',
        help='round matrices and kernels to float16; they are converted back to float32 on loading',
    )
    parser.add_argument(
        '--metric',
        dest='metrics',
        nargs='+',
        type=_metric,
        metavar='NAME=VALUE',
        help='metrics for the metadata (default: from the checkpoint or the logs next to it)',
    )
    parser.add_argument(
        '--dataset',
        help='data set the metrics were measured on (default: the validation data of the config)',
    )
    args = vars(parser.parse_args())
    args['metrics'] = args['metrics'] and dict(args['metrics'])
    return args


def _metric(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition('=')
    try:
        if name:
            return name, float(value)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f'{text!r} is not of the form NAME=VALUE with a number')


if __name__ == '__main__':
    with user_errors():
        from dn_mmdet.runs import publish

        publish(**parse_args())
