# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
#
# Sourced by ./quickstart and tests/run-all: progress lines, one log a step, and a configured build folder.
# The caller sets `root` (of the sources) and `logs` (a folder).

# say LINES...
say()
{
    printf '%s\n' "$@"
}

die()
{
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# step NAME TEXT COMMAND...: runs the command with its output in NAME.log; prints one line, and the log's end when it
# fails, `end` lines or 30. Returns the command's status.
step()
{
    local name=$1 text=$2 log=$logs/$1.log start=$SECONDS status=0
    shift 2
    printf '  %-58s ' "$text"
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if [ "$status" -eq 0 ]; then
        printf 'ok  %3d s\n' $((SECONDS - start))
    else
        printf 'failed after %d s; the end of %s:\n' $((SECONDS - start)) "${log#"$root"/}"
        tail -n "${end:-30}" "$log" | sed 's/^/    | /'
    fi
    return "$status"
}

# sources: prints the folder to configure from. A tree that was itself configured cannot serve a second build folder, so
# then it is a copy that only takes over what changed.
sources()
{
    if [ ! -e "$root/config.status" ]; then
        echo "$root"
        return
    fi
    mkdir -p "$root/build/source"
    (cd "$root" && find . \( -path ./build -o -path ./out -o -path ./.git -o -name .deps -o -name .libs -o -name '*.o' -o \
        -name '*.lo' -o -name '*.la' -o -name '*.log' -o -name '*.trs' \) -prune -o -type f \
        ! -path ./Makefile ! -path ./config.status ! -path ./libtool -print0 |
        xargs -0 cp -pu --parents -t "$root/build/source")
    echo "$root/build/source"
}

# configured FOLDER ARGUMENTS...: a build folder configured with these arguments; done only when they or the place changed.
configured()
{
    local folder=$1 from
    shift
    from=$(sources)
    if [ ! -x "$from/configure" ] || [ ! -e "$from/Makefile.in" ]; then
        (cd "$from" && ./bootstrap)
    fi
    if [ ! -e "$folder/Makefile" ] || [ "$(cat "$folder/.configured" 2>/dev/null)" != "$from $*" ]; then
        rm -rf "$folder"
        mkdir -p "$folder"
        (cd "$folder" && "$from/configure" "$@")
        printf '%s\n' "$from $*" >"$folder/.configured"
    fi
}
