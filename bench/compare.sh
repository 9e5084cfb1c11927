#!/usr/bin/env bash
# Aleph and torch train the same model on the same machine in turn: GPT-2 of 124 million parameters, 4 x 256 tokens a
# step, AdamW with clipping, everything in memory, two threads. Prints the ratio of their tokens per second pair by
# pair, that of their updates alone, and the ceilings of the same run.
#
#   bench/compare.sh [--pairs N] [--steps N] [--threads N] [--cases bf16 fp32 update recompute nvme] [--json FILE]
#
# torch 2.13 and transformers 4.57 come from PYTHON (default build/venv/bin/python, made from PyPI where missing).
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-build/venv/bin/python}
if [ ! -x "$python" ]; then
  python3 -m venv build/venv
  build/venv/bin/pip install --quiet 'torch==2.13.*' 'transformers==4.57.*'
fi
make bench >/dev/null
exec "$python" bench/compare.py "$@"
