#!/usr/bin/env bash
set -euo pipefail
[[ "$("$1" 3 4)" == "3 4 5 6 7 8 9" ]]
[[ "$("$1" 0)" == "0 1 2 3 4 5 6 7 8 9" ]]
! "$1" 12 2> "$TEST_TMPDIR/error"
grep -q "expected words from 0 to 8, got 12" "$TEST_TMPDIR/error"
