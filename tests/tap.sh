# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
#
# Sourced by the checks: prints the Test Anything Protocol, and knows where the sources and the build are.

source_dir=${abs_top_srcdir:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
build_dir=${abs_top_builddir:-$PWD}
tap_count=0
tap_failed=0

# tap_ok NAME: the case passed.
tap_ok()
{
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1"
}

# tap_fail NAME TEXT: the case failed; TEXT says why, in as many lines as it likes.
tap_fail()
{
    tap_count=$((tap_count + 1))
    tap_failed=$((tap_failed + 1))
    echo "not ok $tap_count - $1"
    printf '%s\n' "$2" | sed 's/^/# /'
}

# tap_empty NAME TEXT: passes when TEXT, a list of what is wrong, is empty.
tap_empty()
{
    if [ -z "$2" ]; then tap_ok "$1"; else tap_fail "$1" "$2"; fi
}

# tap_run NAME COMMAND...: passes when the command does; its output is the reason when it doesn't.
tap_run()
{
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then tap_ok "$name"; else tap_fail "$name" "$output"; fi
}

# tap_skip NAME WHY
tap_skip()
{
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
}

# tap_skip_all WHY: ends a script that cannot run here.
tap_skip_all()
{
    echo "1..0 # SKIP $1"
    exit 0
}

# tap_done: the last line of a script.
tap_done()
{
    echo "1..$tap_count"
    [ "$tap_failed" -eq 0 ]
    exit
}
