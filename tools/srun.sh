#!/usr/bin/env bash
# What slurm_train.sh and slurm_test.sh share: one process for each GPU, started by srun.
#     tools/srun.sh PARTITION JOB_NAME SCRIPT [arguments of the script]
# GPUS is the number of all GPUs (default 8), GPUS_PER_NODE that of one machine (default 8; of which
# no more than GPUS are asked for), CPUS_PER_TASK the cores for one GPU (default 5), SRUN_ARGS further options of srun,
# PYTHON the interpreter. With CUDA_VISIBLE_DEVICES=-1 no GPUs are asked for and the processes run
# on CPU.
set -eu
fail() { echo "error: $*" >&2; exit 1; }
check() { [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 must be a positive integer, but it is '$2'."; }
GPUS=${GPUS:-8}
check GPUS "$GPUS"
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
check GPUS_PER_NODE "$GPUS_PER_NODE"
((GPUS_PER_NODE <= GPUS)) || GPUS_PER_NODE=$GPUS
CPUS_PER_TASK=${CPUS_PER_TASK:-5}
check CPUS_PER_TASK "$CPUS_PER_TASK"
command -v srun >/dev/null || fail "srun was not found, so this is no machine of a Slurm cluster:" \
    "use tools/dist_train.sh or tools/dist_test.sh."
TOOLS=$(cd "$(dirname "$0")" && pwd)
PARTITION=$1
JOB_NAME=$2
SCRIPT=$3
shift 3
GRES=(--gres="gpu:$GPUS_PER_NODE")
[ "${CUDA_VISIBLE_DEVICES:-}" != -1 ] || GRES=()
export PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}"
# SRUN_ARGS holds several options.
# shellcheck disable=SC2086
exec srun --partition="$PARTITION" --job-name="$JOB_NAME" ${GRES[@]+"${GRES[@]}"} \
    --ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE" --cpus-per-task="$CPUS_PER_TASK" \
    --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$TOOLS/$SCRIPT" "$@" --launcher slurm
