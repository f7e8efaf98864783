#!/usr/bin/env bash
# Seconds from a wheel to the first clip, in a fresh environment and another folder: benchmarks/first_sound.sh [PYTHON].
# The wheel is built by .venv, which has setuptools. Prints the seconds of each command, and the environment's size.
set -euo pipefail
python=${1:-python3}
project=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export DIFFWAVE_JAX_CACHE=$folder/cache
git -C "$project" archive --prefix=source/ HEAD | tar x -C "$folder"
mkdir "$folder/elsewhere"
(cd "$folder/source" && "$project/.venv/bin/python" -c "import setuptools.build_meta as b; b.build_wheel('$folder')") >&2
cd "$folder/elsewhere"

timed() {
  local start=$EPOCHREALTIME
  "$@" >&2
  printf '%8.1f s  %s\n' "$(echo "$EPOCHREALTIME - $start" | bc)" "${*//"$folder"\/}"
}

timed "$python" -m venv "$folder/env"
timed "$folder/env/bin/pip" install --quiet "$folder"/*.whl
timed "$folder/env/bin/diffwave-sample" --n 1
timed "$folder/env/bin/diffwave-sample" --n 1 --seed 1 --out again
timed "$folder/env/bin/python" -c "import diffwave_jax"
du -sm "$folder/env" | sed 's/\t.*/ MB  the environment/'
