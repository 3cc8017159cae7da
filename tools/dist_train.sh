#!/usr/bin/env bash
# Train on several GPUs, or without any on CPU in as many processes:
#     tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# PYTHON gives the interpreter, PORT the port (default: a free one). On several machines NNODES,
# NODE_RANK and MASTER_ADDR are as in mmdet.
set -eu
if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [options of train.py]" >&2
    exit 2
fi
TOOLS=$(cd "$(dirname "$0")" && pwd)
CONFIG=$1
GPUS=$2
shift 2
export PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" -m dn_mmdet.engine.launch "$GPUS" \
    "$TOOLS/train.py" "$CONFIG" --launcher pytorch "$@"
