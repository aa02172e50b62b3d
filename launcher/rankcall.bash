# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
#
# bash completion of the rankcall command: subcommands, options, names of jobs, files.

# The jobs of the runtime folder, by the names of their sockets.
_rankcall_jobs()
{
    local folder=${RANKCALL_RUNTIME_DIR:-/tmp/rankcall-$EUID} socket
    for socket in "$folder"/*.sock; do
        [[ -S $socket ]] || continue
        socket=${socket##*/}
        printf '%s\n' "${socket%.sock}"
    done
}

# Words of $2 and files, or folders with $3 = -d, that begin with $1. COMPREPLY keeps names with spaces whole.
_rankcall_reply()
{
    mapfile -t COMPREPLY < <(compgen -W "$2" -- "$1"; [[ -z $3 ]] || compgen "$3" -- "$1")
    [[ -z $3 ]] || compopt -o filenames 2>/dev/null
}

# What may follow an option of the subcommand $1 that takes a value: fails for other words.
_rankcall_value()
{
    local before=$2 word=$3
    case $before in
    -j | --job) _rankcall_reply "$word" "$(_rankcall_jobs)" -f ;;
    -o | --output) _rankcall_reply "$word" '' -d ;;
    --socket | --call-log) _rankcall_reply "$word" '' -f ;;
    --launch) _rankcall_reply "$word" 'auto mpirun srun' ;;
    --via) _rankcall_reply "$word" 'ssh: srun:' ;;
    --bind) _rankcall_reply "$word" 'auto numa none' ;;
    --input) _rankcall_reply "$word" '' -f ;;
    -a | --attach) COMPREPLY=() ;;
    -H | --handler | -n | --ranks | --name | --queue | --payload-cap | --gpus | --allowed | --restarts | --on-node-loss | --grace | --launcher-arg | --client-stall | --drain | --streaming-timeout | --het-group | --walltime-drain | --wait | --duration)
        COMPREPLY=()
        ;;
    -t | --timeout) COMPREPLY=() ;;
    --setup) _rankcall_at_file "$word" ;;
    -d) [[ $1 = stop ]] && COMPREPLY=() ;;
    *) return 1 ;;
    esac
}

# @FILE
_rankcall_at_file()
{
    COMPREPLY=()
    [[ $1 = @* ]] || return 0
    mapfile -t COMPREPLY < <(compgen -f -P @ -- "${1#@}")
    compopt -o filenames 2>/dev/null
}

# The file of -a NAME=FILE: bash takes the = for a word of its own.
_rankcall_attachment()
{
    local word=$1
    [[ $word = '=' ]] && word=''
    _rankcall_reply "$word" '' -f
}

# The options of the subcommand $1, from its own help.
_rankcall_options()
{
    "${COMP_WORDS[0]}" "$1" --help 2>/dev/null | sed -n -E 's/^  (-[a-zA-Z])?,? +(--[a-z-]+).*/\1 \2/p'
}

# What is no option and no option's value.
_rankcall_argument()
{
    case $1 in
    status | topo | cancel | stop | forward) _rankcall_reply "$2" "$(_rankcall_jobs)" ;;
    invoke | stream) _rankcall_at_file "$2" ;;
    run) _rankcall_reply "$2" "$(compgen -c -- "$2")" -f ;;
    *) COMPREPLY=() ;;
    esac
}

_rankcall()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        _rankcall_reply "$word" 'run invoke stream ps status topo cancel stop doctor forward help --help --version'
    elif [[ $command = help ]]; then
        _rankcall_reply "$word" 'run invoke stream ps status topo cancel stop doctor forward exit-codes'
    elif [[ $word = '=' || $before = '=' ]]; then
        _rankcall_attachment "$word"
    elif ! _rankcall_value "$command" "$before" "$word"; then
        if [[ $word = -* ]]; then
            _rankcall_reply "$word" "$(_rankcall_options "$command")"
        else
            _rankcall_argument "$command" "$word"
        fi
    fi
}

complete -F _rankcall rankcall
