#!/usr/bin/env bash
# Builds tf_ls for the TensorFlow of a virtual environment and installs it there.
#
#   tools/install.sh FOLDER
#
# Shows how far Bazel is; the whole output is in FOLDER/install.log.
set -euo pipefail

log=$1/install.log
echo "Building tf_ls and installing it into $1"
if ! "$1/bin/python" -m pip install -v --disable-pip-version-check --no-deps . 2>&1 \
  | tee "$log" | { grep --line-buffered -E '^ *\[[0-9,]+ / [0-9,]+\]' || true; }; then
  tail -n 60 "$log" >&2
  echo "tf_ls could not be installed into $1; the whole output is in $log." >&2
  exit 1
fi
