#!/usr/bin/env bash
# Installs the system packages that a build needs, unless they are there.
#
#   tools/setup_system.sh [--tests]     with --tests also what `bazel test` and the page's tests need
set -euo pipefail

missing=()
command -v g++ > /dev/null || missing+=(g++)
# Debian's Python comes without its venv module.
if [[ -z ${PYTHON:-} ]] && command -v python3.11 > /dev/null; then
  python3.11 -c 'import ensurepip, venv' 2> /dev/null || missing+=(python3.11-venv)
fi
if [[ -z ${TF_LS_BAZEL:-} ]] && ! command -v bazelisk > /dev/null; then
  # Debian's Bazel comes without the rules that it would download.
  if ! command -v bazel > /dev/null || [[ $(bazel --version 2> /dev/null) == *no_version* ]]; then
    [[ -x /usr/bin/bazel ]] || missing+=(bazel-bootstrap)
    [[ -d /usr/share/bazel/rules/java ]] || missing+=(bazel-rules-java)
    [[ -d /usr/share/bazel/rules/proto ]] || missing+=(bazel-rules-proto)
    [[ -d /usr/share/bazel/tools/skylib ]] || missing+=(bazel-skylib)
    [[ -d /usr/share/bazel/tools/platforms ]] || missing+=(bazel-platforms)
  fi
fi
if [[ ${1:-} == --tests ]]; then
  [[ -e /usr/include/gtest/gtest.h || -e /usr/local/include/gtest/gtest.h ]] || missing+=(libgtest-dev)
  command -v chromium chromium-browser google-chrome > /dev/null || missing+=(chromium)
fi
[[ ${#missing[@]} -eq 0 ]] && exit 0

if ! command -v apt-get > /dev/null; then
  echo "Missing: ${missing[*]} (Debian's names). There is no apt-get here: install them, or for" \
    "Bazel bazelisk, with your system's package manager, then run this again." >&2
  exit 1
fi
if [[ $(id -u) -eq 0 ]]; then
  as_root=()
elif command -v sudo > /dev/null; then
  as_root=(sudo)
else
  echo "Missing: ${missing[*]}. This needs root: run 'apt-get install ${missing[*]}' as root, then" \
    "run this again." >&2
  exit 1
fi
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update && "${as_root[@]}" apt-get install -y --no-install-recommends \
  "${missing[@]}"; } > "$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "apt-get could not install ${missing[*]}; what it said is above." >&2
  exit 1
fi
