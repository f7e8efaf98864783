#!/usr/bin/env bash
# Runs benchmarks/gpu_compile_gate.py in an environment with the CUDA compilers: GPU_VENV, or .venv-gpu, which is made
# and filled (about 5 GB) where it is missing or its requirements have changed.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${GPU_VENV:-.venv-gpu}
stamp=$venv/.requirements
if ! cat requirements.txt requirements-gpu.txt | cmp --silent - "$stamp"; then
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --requirement requirements-gpu.txt
  cat requirements.txt requirements-gpu.txt > "$stamp"
fi
exec "$venv/bin/python" -m benchmarks.gpu_compile_gate "$@"
