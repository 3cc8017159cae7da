#!/usr/bin/env bash
# Makes the environment of `make demo` and `make test` in $VENV (default .venv), from the versions
# in pins.txt. Steps that are done are skipped; an interrupted run goes on where it stopped.
# PYTHON names the interpreter to use; default: python3.11, else a python3 that is 3.11.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=${VENV:-.venv}
PINS=requirements/pins.txt
stamp="$VENV/.installed"
wanted=$(cat "$PINS" setup.cfg setup.py dn_mmdet/ops/csrc/* requirements/install.sh | sha256sum | cut -d' ' -f1)

fail() { echo "error: $*" >&2; exit 1; }
say() { echo "[install] $*"; }
pip_install() { "$VENV/bin/python" -m pip install --quiet -c "$PINS" "$@"; }

[ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0

# Two makes at once would write into one environment: the second waits for the first.
exec 9>"$VENV.lock"
if command -v flock >/dev/null; then flock 9; fi
[ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0

# --- The interpreter: the pinned torch, numpy and mmcv were tried together on 3.11 alone.
version() { "$1" --version 2>/dev/null || echo "cannot be run"; }
is_311() { command -v "$1" >/dev/null && "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; }
if [ -n "${PYTHON:-}" ]; then
  is_311 "$PYTHON" || fail "PYTHON=$PYTHON is not Python 3.11 ($(version "$PYTHON")): set PYTHON to a Python 3.11 interpreter."
elif is_311 python3.11; then PYTHON=python3.11
elif is_311 python3; then PYTHON=python3
else
  fail "Python 3.11 was not found (python3: $(version python3)): install it (Debian, Ubuntu: apt install python3.11 python3.11-venv python3.11-dev) or name one, as in 'make test PYTHON=/path/to/python3.11'."
fi
if [ ! -x "$VENV/bin/python" ]; then
  "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null \
    || fail "$PYTHON has no venv module: install it (Debian, Ubuntu: apt install python3.11-venv)."
  say "making $VENV with $("$PYTHON" --version)"
  "$PYTHON" -m venv "$VENV"
fi
is_311 "$VENV/bin/python" || fail "$VENV holds $(version "$VENV/bin/python"), not Python 3.11: remove the folder $VENV and run again."

# --- What mmcv's build needs, told before anything large is downloaded.
mmcv_works() { "$VENV/bin/python" - "$(sed -n 's/^mmcv==//p' "$PINS")" <<'PY' >/dev/null 2>&1
import sys
import mmcv.ops
sys.exit(mmcv.__version__ != sys.argv[1])
PY
}
have_mmcv=true
if ! mmcv_works; then
  have_mmcv=false
  compiler=${CXX:-c++}
  command -v "$compiler" >/dev/null \
    || fail "no C++ compiler ('$compiler'), and mmcv's operators are built from source: install one (Debian, Ubuntu: apt install build-essential) or set CXX."
  echo 'int main() { return 0; }' | "$compiler" -x c++ -o /dev/null - 2>/dev/null \
    || fail "the C++ compiler '$compiler' cannot build a program: install the C++ library's headers (Debian, Ubuntu: apt install build-essential) or set CXX."
  include=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  [ -f "$include/Python.h" ] \
    || fail "Python's headers are missing ($include/Python.h), and mmcv's operators need them: install them (Debian, Ubuntu: apt install python3.11-dev)."
fi

# --- torch first: mmcv compiles against it.
say "setuptools, numpy and torch"
pip_install setuptools wheel ninja numpy torch

# --- mmcv with its operators.
if ! $have_mmcv; then
  jobs=${MAX_JOBS:-$(nproc)}
  say "mmcv with its operators: built from source with $jobs jobs, about 8 minutes on 2 cores, unless pip has it in its cache"
  build() {
    (while sleep 60; do say "mmcv: still building, $((SECONDS / 60)) min"; done) &
    ticker=$!
    trap 'kill $ticker 2>/dev/null' EXIT
    MMCV_WITH_OPS=1 FORCE_CUDA=${FORCE_CUDA:-0} MAX_JOBS=$jobs pip_install --no-build-isolation "$@" mmcv
    kill $ticker
    trap - EXIT
  }
  build
  # opencv-python needs the system's libGL, which servers often lack; the headless build of the
  # same version serves as well.
  if ! "$VENV/bin/python" -c 'import cv2' 2>/dev/null; then
    say "opencv-python cannot find a system library (libGL): opencv-python-headless takes its place"
    pip_install --force-reinstall --no-deps opencv-python-headless
  fi
  # pip's cache does not know which torch a wheel was built against.
  mmcv_works || { say "the cached mmcv was built against another torch: building it again"; build --force-reinstall --no-deps --no-cache-dir; }
  mmcv_works || fail "mmcv was installed but its operators do not load: run '$VENV/bin/python -c \"import mmcv.ops\"' to see why."
fi

# --- The rest, and this package in editable mode, with its operators in C++.
say "mmengine, mmdet, pycocotools and dn_mmdet, whose operators take about a minute to build"
pip_install --no-build-isolation -e '.[mmdet,test,dev]'
"$VENV/bin/python" -c 'import dn_mmdet' || fail "dn_mmdet does not import in $VENV: see the message above."
# Without them DN-B is slower and as right, so that is no error.
missing=$("$VENV/bin/python" -c 'from dn_mmdet.ops.backends import cpp; print(cpp.why_absent())')
[ -z "$missing" ] || say "the C++ operators cannot be used ($missing): the slower ATen path serves; \"$VENV/bin/python setup.py build_ext --inplace\" shows why"

echo "$wanted" >"$stamp.new"
mv "$stamp.new" "$stamp"
say "done: $("$VENV/bin/python" -c 'import torch, mmcv, mmengine, mmdet; print("torch", torch.__version__, "| mmcv", mmcv.__version__, "| mmengine", mmengine.__version__, "| mmdet", mmdet.__version__)')"
