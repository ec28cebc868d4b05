#!/usr/bin/env bash
# Makes a virtual environment, or brings one up to date.
#
#   tools/setup_venv.sh FOLDER REQUIREMENTS...
#
# A file named *-nodeps.txt is installed without dependencies, last.
set -euo pipefail

folder=$1
shift

# TensorFlow 2.12 ends at Python 3.11, TensorFlow 2.21 begins at 3.10.
python=${PYTHON:-}
for candidate in python3.11 python3.10 python3; do
  [[ -z $python ]] && "$candidate" -c '' 2> /dev/null && python=$candidate
done
if [[ -z $python ]] || ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))' 2> /dev/null; then
  echo "Python 3.11 or 3.10 is needed for the virtual environments: install it (Debian 12:" \
    "apt-get install python3.11 python3.11-venv) or name it: make PYTHON=/path/to/python3.11 ..." >&2
  exit 1
fi
if ! "$python" -c 'import venv, ensurepip' 2> /dev/null; then
  echo "$python cannot make virtual environments: install its venv module (Debian and Ubuntu:" \
    "apt-get install python3-venv)." >&2
  exit 1
fi

if [[ ! -x $folder/bin/python ]]; then
  echo "Making the virtual environment $folder"
  "$python" -m venv "$folder"
fi
for file in "$@"; do
  arguments=(--requirement "$file")
  [[ $file == *-nodeps.txt ]] && arguments+=(--no-deps)
  echo "Installing $(grep -v '^#' "$file" | tr '\n' ' ')into $folder"
  # In a terminal pip shows its progress; elsewhere errors only.
  [[ -t 1 ]] || arguments+=(--quiet --quiet)
  "$folder/bin/python" -m pip install --disable-pip-version-check "${arguments[@]}"
done
