#!/usr/bin/env bash
# Makes the environment of `make demo`, `make test` and the others in $VENV, for one stack of
# versions: STACK=default (.venv), classic (.venv-classic) or onedl (.venv-onedl). The versions
# are those of pins.txt, save those that pins-$STACK.txt has of its own. Steps that are done are
# skipped; an interrupted run goes on where it stopped.
# PYTHON names the interpreter to use; default: the first that is found of those of the stack.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "error: $*" >&2; exit 1; }
say() { echo "[install] $*"; }

# --- The stacks: the Pythons on which each was tried, the first choice first; its mmcv; its extra in
# setup.cfg; what its tests can use besides.
STACK=${STACK:-default}
more=()
case $STACK in
  default) pythons=(3.11) mmcv=mmcv extra=mmdet ;;
  classic) pythons=(3.11) mmcv=mmcv extra=mmdet more=(torchvision timm mmpretrain) ;;
  onedl) pythons=(3.11) mmcv=onedl-mmcv extra=fork ;;
  *) fail "there is no stack '$STACK': set STACK to default, classic or onedl." ;;
esac
[ "$STACK" = default ] && own= || own=-$STACK
VENV=${VENV:-.venv$own}
stamp="$VENV/.installed"
pins() { awk -F== '!/^#/ && NF == 2 && !known[$1]++' ${own:+"requirements/pins$own.txt"} requirements/pins.txt; }
# An environment that checkouts share has the package of the one that installed last.
wanted=$({ pins; pwd; cat setup.cfg setup.py dn_mmdet/ops/csrc/* requirements/install.sh; } | sha256sum | cut -d' ' -f1)
is_done() { [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; }
pip_install() { "$VENV/bin/python" -m pip install --quiet -c "$VENV/.pins.txt" "$@"; }

is_done && exit 0

# --- The interpreter.
version() { { "$1" --version 2>/dev/null || echo "cannot be run"; } | sed -n 1p; }
minor() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
fits() { command -v "$1" >/dev/null && [[ " ${pythons[*]} " == *" $(minor "$1") "* ]]; }
accepted=${pythons[*]}
accepted="Python ${accepted// / or }"
best=${pythons[0]}
if [ -n "${PYTHON:-}" ]; then
  fits "$PYTHON" || fail "PYTHON=$PYTHON is not $accepted ($(version "$PYTHON")): set PYTHON to an interpreter that the stack '$STACK' takes."
else
  for name in "${pythons[@]/#/python}" python3; do
    if fits "$name"; then PYTHON=$name; break; fi
  done
fi
if [ -x "$VENV/bin/python" ]; then
  fits "$VENV/bin/python" || fail "$VENV holds $(version "$VENV/bin/python"), not $accepted: remove the folder $VENV and run again."
  held=$(cat "$VENV/.stack" 2>/dev/null || { [ ! -e "$stamp" ] || echo default; })
  [ "${held:-$STACK}" = "$STACK" ] || fail "$VENV holds the stack '$held', not '$STACK': set VENV to another folder, or remove the folder $VENV and run again."
else
  [ -n "${PYTHON:-}" ] || fail "$accepted was not found (python3: $(version python3)): install it (Debian, Ubuntu: apt install python$best python$best-venv python$best-dev) or name one, as in 'make test PYTHON=/path/to/python$best'."
  "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null \
    || fail "$PYTHON has no venv module: install it (Debian, Ubuntu: apt install python$(minor "$PYTHON")-venv)."
fi

# Two makes at once would write into one environment: the second waits for the first.
exec 9>"$VENV.lock"
if command -v flock >/dev/null; then flock 9; fi
is_done && exit 0
if [ ! -x "$VENV/bin/python" ]; then
  say "making $VENV with $(version "$PYTHON"), for the stack '$STACK'"
  "$PYTHON" -m venv "$VENV"
fi
echo "$STACK" >"$VENV/.stack"
pins >"$VENV/.pins.txt"

# --- What mmcv's build needs, told before anything large is downloaded.
mmcv_works() { "$VENV/bin/python" - "$(sed -n "s/^$mmcv==//p" "$VENV/.pins.txt")" <<'PY' >/dev/null 2>&1
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
    || fail "Python's headers are missing ($include/Python.h), and mmcv's operators need them: install them (Debian, Ubuntu: apt install python$(minor "$VENV/bin/python")-dev)."
fi

# --- torch first: mmcv compiles against it.
say "setuptools, numpy and torch"
pip_install setuptools wheel ninja numpy packaging torch

# --- mmcv with its operators.
if ! $have_mmcv; then
  jobs=${MAX_JOBS:-$(nproc)}
  export MMCV_WITH_OPS=1 FORCE_CUDA=${FORCE_CUDA:-0} MAX_JOBS=$jobs
  # pip's cache does not know which torch a wheel was built against: each has a cache of its own.
  if cache=$("$VENV/bin/python" -m pip cache dir 2>/dev/null); then
    torch=$("$VENV/bin/python" -c 'import torch; print(torch.__version__)')
    [ "$FORCE_CUDA" = 0 ] || torch=$torch-cuda
    cache=(--cache-dir "$cache/mmcv-torch$torch")
  else
    cache=()
  fi
  say "$mmcv with its operators: built from source with $jobs jobs, about 8 minutes on 2 cores, unless it was built here before"
  # A sleep that outlives the ticker holds neither a pipe behind this script nor the lock.
  (while sleep 60 >/dev/null 2>&1; do say "$mmcv: still building, $((SECONDS / 60)) min"; done) 9>&- &
  ticker=$!
  trap 'kill $ticker 2>/dev/null' EXIT
  pip_install --no-build-isolation --force-reinstall --no-deps "${cache[@]}" "$mmcv"
  kill $ticker
  trap - EXIT
  pip_install "$mmcv"
  # opencv-python needs the system's libGL, which servers often lack; the headless build of the
  # same version serves as well.
  if ! "$VENV/bin/python" -c 'import cv2' 2>/dev/null; then
    say "opencv-python cannot find a system library (libGL): opencv-python-headless takes its place"
    pip_install --force-reinstall --no-deps opencv-python-headless
  fi
  mmcv_works || fail "$mmcv was installed but its operators do not load: run '$VENV/bin/python -c \"import mmcv.ops\"' to see why${cache[1]:+; the build is kept in ${cache[1]}, remove that folder to build it again}."
fi

# --- The rest, and this package in editable mode, with its operators in C++.
say "mmengine, mmdet, pycocotools and dn_mmdet, whose operators take about a minute to build"
pip_install --no-build-isolation -e ".[$extra,test,dev]" "${more[@]}"
"$VENV/bin/python" -c 'import dn_mmdet' || fail "dn_mmdet does not import in $VENV: see the message above."
# Without them DN-B is slower and as right, so that is no error.
missing=$("$VENV/bin/python" -c 'from dn_mmdet.ops.backends import cpp; print(cpp.why_absent())')
[ -z "$missing" ] || say "the C++ operators cannot be used ($missing): the slower ATen path serves; \"$VENV/bin/python setup.py build_ext --inplace\" shows why"

echo "$wanted" >"$stamp.new"
mv "$stamp.new" "$stamp"
say "done: $("$VENV/bin/python" -c 'import torch, mmcv, mmengine, mmdet; print("torch", torch.__version__, "| mmcv", mmcv.__version__, "| mmengine", mmengine.__version__, "| mmdet", mmdet.__version__)')"
