# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # $log comes from the caller
# What the scripts share: one line a step, a clock on long ones, errors that say what to do.
# Sourced, never run. The caller sets $log (a file) before it uses run_logged.

lib_child=      # process group of the command that run_logged waits for
lib_died=0      # die has said why
lib_tty=0
[ -t 1 ] && lib_tty=1

# step MARK TEXT: one finished step, e.g. "  ok    hugepages: 512 of 2 MiB".
step() { printf '  %-5s %s\n' "$1" "$2"; }
ok() { step ok "$*"; }
skip() { step skip "$*"; }
note() { step note "$*"; }

# die WHAT [WAY_OUT...]: what failed, then a line each for what to do next.
die() {
	lib_died=1
	printf '\nerror: %s\n' "$1" >&2
	shift
	[ $# -eq 0 ] || printf '  %s\n' "$@" >&2
	exit 1
}

# no_such_option WORD: for what a script's options do not list: --help, by its usage(), or a mistake.
no_such_option() {
	case $1 in
	--help | -h)
		usage
		exit 0
		;;
	esac
	usage >&2
	die "unknown option: $1"
}

# at_exit COMMAND: at the script's end, signals included, with $? as it is then.
at_exit() {
	# shellcheck disable=SC2064 # the command is the caller's
	trap "$1" EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

elapsed() {
	if [ "$1" -lt 60 ]; then
		printf '%d s' "$1"
	else
		printf '%d min %d s' $(($1 / 60)) $(($1 % 60))
	fi
}

# Ends the process group that run_logged started: gently, then less so.
stop_child() {
	local signal tries
	for signal in INT TERM KILL; do
		kill -$signal -- -"$lib_child" 2>/dev/null || return 0
		for ((tries = 0; tries < 50; tries++)); do
			kill -0 "$lib_child" 2>/dev/null || return 0
			sleep 0.1
		done
	done
}

# run_logged TEXT COMMAND...: runs it with its output appended to $log, and shows that it is alive:
# a running clock on a terminal, elsewhere a line now and then. Returns the command's status, 124
# if it took longer than run_limit seconds (0: no limit).
# The command gets a process group of its own, so that Ctrl-C can stop all of it.
run_limit=0
run_logged() {
	local text=$1 start=$SECONDS next=5 timed_out=0 took rc=0
	shift
	printf '\n==== %s\n' "$text" >>"$log"
	set -m
	"$@" >>"$log" 2>&1 </dev/null 9>&- &
	lib_child=$!
	set +m
	while kill -0 "$lib_child" 2>/dev/null; do
		took=$((SECONDS - start))
		if [ $lib_tty = 1 ]; then
			printf '\r  %-5s %s (%s) ' ... "$text" "$(elapsed $took)"
		elif [ $took -ge $next ]; then
			next=$((took + 30))
			step ... "$text, $(elapsed $took) so far"
		fi
		if [ $run_limit != 0 ] && [ $took -ge $run_limit ]; then
			echo "stopped: it took longer than $(elapsed $run_limit)" >>"$log"
			stop_child
			timed_out=1
			break
		fi
		sleep 0.2
	done
	wait "$lib_child" || rc=$?
	[ $timed_out = 0 ] || rc=124
	lib_child=
	[ $lib_tty = 0 ] || printf '\r\033[K'
	took=$(elapsed $((SECONDS - start)))
	if [ $rc = 0 ]; then
		ok "$text ($took)"
	else
		step FAIL "$text (status $rc after $took)"
	fi
	return $rc
}

# log_end LINES PREFIX: the last lines that the last command logged.
log_end() {
	awk '/^==== / { text = ""; next } { text = text $0 "\n" } END { printf "%s", text }' "$log" |
		tail -n "$1" | sed "s/^/$2/"
}

# must_run TEXT COMMAND...: run_logged that ends the script if the command fails, with the lines of
# must_run_hint for what to do.
must_run_hint=()
must_run() {
	local text=$1
	run_logged "$@" && return 0
	printf '\nThe last lines of %s:\n' "$log" >&2
	log_end 25 '  | ' >&2
	die "$text failed" "${must_run_hint[@]}" "The whole log: $log" \
		"It is safe to run this again: finished steps are not repeated."
}

# To be called first in the EXIT trap, with $?: ends what run_logged left running, and leaves no
# failure without a word.
clean_exit() {
	[ -z "$lib_child" ] || stop_child
	if [ "$1" -ge 128 ]; then
		printf '\nInterrupted. It is safe to run this again.\n' >&2
	elif [ "$1" != 0 ] && [ $lib_died = 0 ]; then
		printf '\nerror: %s ended unexpectedly with status %d; the log: %s\n' "$0" "$1" "$log" >&2
	fi
}
