#!/usr/bin/env bash
# Evaluate on several GPUs, or without any on CPU in as many processes:
#     tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# PYTHON gives the interpreter, PORT the port (default: a free one). On several machines NNODES,
# NODE_RANK and MASTER_ADDR are as in mmdet.
set -eu
if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [options of test.py]" >&2
    exit 2
fi
TOOLS=$(cd "$(dirname "$0")" && pwd)
CONFIG=$1
CHECKPOINT=$2
GPUS=$3
shift 3
export PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" -m dn_mmdet.engine.launch "$GPUS" \
    "$TOOLS/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "$@"
