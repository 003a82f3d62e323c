#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Sets the machine up, builds quicport in every way that is supported, and runs all tests. A stage
# that fails doesn't keep the others from running; the last line has the sums.
# shellcheck source-path=SCRIPTDIR disable=SC2034
set -euo pipefail

here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
cd "$here/.."
unset CC   # each stage has its compiler
# shellcheck source=lib.sh
. "$here/lib.sh"

usage() {
	cat <<'EOF'
Usage: scripts/test.sh [--quick | --stage NAME...]

  --quick        build with gcc and run the unit tests only
  --stage NAME   run this stage only (may be given several times):
                   unit    gcc, unit tests
                   asan    clang with address and undefined-behaviour sanitizers, unit tests
                   fuzz    each fuzz target for a few seconds, from its kept corpus
                   e2e     whole gateways and clients against real sockets (needs root)
                   package Debian packages: built, checked by lintian, installed, run by a systemd of
                           their own, upgraded, purged (needs root)
  --help         this text

Environment:
  QUICPORT_FUZZ_SECONDS  seconds for each fuzz target (default: 5)
  QUICPORT_E2E_ARGS      more arguments for pytest, e.g. "-k relay -x"
  QUICPORT_HUGEPAGES, QUICPORT_CACHE: see scripts/setup.sh --help

Logs are in build-logs/.
EOF
}

all_stages=(unit asan fuzz e2e package)
logs=$PWD/build-logs
passed=0
failed=0
skipped=0
bad_stages=()

# fail WHAT: counts a failure that no test runner counts, such as a build that breaks.
fail() {
	failed=$((failed + 1))
	bad_stages+=("$stage")
	# As tests/e2e/conftest.py tells it.
	sed -nE 's/^why (FAILED|ERROR) /        failed: /p' "$log"
	printf '        %s; the end of %s:\n' "$1" "${log#"$PWD/"}"
	log_end 30 '        | '
}

# tell WHAT NAMES: what count-tests.py says of tests that failed, and the log's end.
tell() {
	sed -e "s/^[^\t]/        $1: &/" -e 's/^\t/            /' <<<"$2"
	printf '        the end of %s:\n' "${log#"$PWD/"}"
	log_end 12 '        | '
}

# add RUNNER STATUS REPORT...: adds up a runner's report, and one of a second try. A runner that
# failed without a failed test, or left no report, is a failure of its own.
add() {
	local runner=$1 status=$2 counts names p f s
	shift 2
	if ! counts=$(/usr/bin/python3 "$here/count-tests.py" "$runner" "$@" 2>>"$log"); then
		fail "the runner left no report (status $status)"
		return
	fi
	read -r p f s <<<"$counts"
	names=$(tail -n +2 <<<"$counts")
	passed=$((passed + p))
	failed=$((failed + f))
	skipped=$((skipped + s))
	printf '        %s: %d passed, %d failed%s\n' "$stage" "$p" "$f" \
		"$([ "$s" = 0 ] || echo ", $s skipped")"
	if [ "$f" != 0 ]; then
		bad_stages+=("$stage")
		tell failed "$names"
	elif [ "$status" != 0 ]; then
		fail "no test failed, but the runner ended with status $status"
	fi
}

# configure DIR [OPTION...]: a build folder, made anew if set-up has put the libraries elsewhere.
configure() {
	local dir=$1 prefix
	shift
	prefix=$("$here/setup.sh" --print-prefix) || return
	if [ ! -f "$dir/build.ninja" ]; then
		meson setup "$dir" "$@" || return
	elif [ "$(cat "$dir/.deps-prefix" 2>/dev/null || echo "$prefix")" != "$prefix" ]; then
		meson setup --wipe "$dir" || return
	fi
	echo "$prefix" >"$dir/.deps-prefix"
}

build() { configure "$@" && ninja -C "$1"; }

# compile TEXT DIR [OPTION...]
compile() {
	local text=$1
	shift
	run_limit=1200
	run_logged "$stage: $text" build "$@" && return
	fail "the build failed"
	return 1
}

# meson_tests TEXT DIR LOGBASE ARGUMENT...: LOGBASE is the report's name.
meson_tests() {
	local text=$1 dir=$2 logbase=$3
	shift 3
	rm -f "$dir/meson-logs/$logbase.json"
	run_limit=900
	run_logged "$stage: $text" meson test -C "$dir" --no-rebuild --print-errorlogs \
		--logbase "$logbase" "$@"
}

# As with the end-to-end tests: some programs race a kernel and its clock. One that fails has one
# more try, and is named; many at once are no accident. Not after a run that was cut short, whose
# other programs never ran: Meson's status counts the failed ones when it came to its end.
unit_tests() {
	local dir=$1 status=0 failures counts f reports
	shift
	reports=("$dir/meson-logs/testlog.json")
	meson_tests "unit tests" "$dir" testlog "$@" || status=$?
	if [ $status = 0 ] && grep -q '^No tests defined' "$log"; then
		skip "$stage: there are no unit tests"
		return
	fi
	mapfile -t failures < <(/usr/bin/python3 "$here/count-tests.py" failures "${reports[0]}" 2>>"$log")
	counts=$(/usr/bin/python3 "$here/count-tests.py" meson "${reports[0]}" 2>>"$log") || counts="0 0 0"
	read -r _ f _ <<<"$counts"
	if [ $status != 0 ] && [ $status = ${#failures[@]} ] && [ $status -le 3 ] && [ "$f" -le 5 ]; then
		tell "has a second try" "$(tail -n +2 <<<"$counts")"
		status=0
		meson_tests "again: ${failures[*]}" "$dir" again "$@" "${failures[@]}" || status=$?
		reports+=("$dir/meson-logs/again.json")
	fi
	add meson $status "${reports[@]}"
}

stage_unit() {
	compile "building with gcc" build || return 0
	unit_tests build
}

# The second compiler as well: what clang warns of is an error here.
stage_asan() {
	export CC=clang
	compile "building with clang and sanitizers" build-asan -Db_lundef=false \
		-Db_sanitize=address,undefined || return 0
	unset CC
	export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1
	export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
	unit_tests build-asan --timeout-multiplier 4
	unset ASAN_OPTIONS UBSAN_OPTIONS
}

stage_fuzz() {
	local source target seconds=${QUICPORT_FUZZ_SECONDS:-5}
	export CC=clang
	compile "building the fuzz targets" build-fuzz -Dfuzz=true -Db_lundef=false \
		-Db_sanitize=address,undefined || { unset CC; return 0; }
	unset CC
	run_limit=$((seconds + 90))
	for source in tests/fuzz/fuzz_*.c; do
		target=${source#tests/fuzz/fuzz_}
		target=${target%.c}
		if run_logged "$stage: $target" "$here/fuzz.sh" --seconds "$seconds" "$target"; then
			passed=$((passed + 1))
		else
			fail "again: scripts/fuzz.sh $target"
		fi
	done
}

stage_e2e() {
	local status=0 args python=/usr/bin/python3
	if ! compgen -G 'tests/e2e/test_*.py' >/dev/null; then
		skip "$stage: there are no end-to-end tests"
		return
	fi
	compile "building with gcc" build || return 0
	# The tests may want Python packages that Debian doesn't have; then they bring a way to get them.
	if [ -x tests/e2e/venv.sh ]; then
		run_limit=600
		if ! run_logged "$stage: preparing Python" tests/e2e/venv.sh; then
			fail "there is no Python to run the tests with"
			return
		fi
		python=$(tests/e2e/venv.sh 2>>"$log")
	fi
	read -ra args <<<"${QUICPORT_E2E_ARGS:-}"
	rm -f "$logs/e2e.xml"
	run_limit=3600
	# These race whole processes against clocks on a machine that may have other work: one that
	# fails has one more try, and is named below, since it deserves to be looked at all the same.
	run_logged "$stage: end-to-end tests" "$python" -m pytest tests/e2e -v -ra --timeout=180 \
		--reruns 1 -p no:cacheprovider --junitxml="$logs/e2e.xml" "${args[@]}" || status=$?
	sed -n 's/^why RERUN /        had a second try: /p' "$log"
	add pytest $status "$logs/e2e.xml"
}

stage_package() {
	local status=0 folder=$PWD/build-packages
	run_limit=900
	if ! run_logged "$stage: building, lintian" scripts/package.sh --output "$folder"; then
		fail "the packages cannot be built, or lintian complains"
		return
	fi
	passed=$((passed + 1)) # lintian
	rm -f "$logs/package.xml"
	run_limit=900
	QP_PACKAGES=$folder run_logged "$stage: packages on a machine of their own" \
		/usr/bin/python3 -m pytest tests/package -v -ra --timeout=180 -p no:cacheprovider \
		--junitxml="$logs/package.xml" || status=$?
	add pytest $status "$logs/package.xml"
}

on_exit() { clean_exit $?; }

stages=()
setup_args=()
while [ $# -gt 0 ]; do
	case $1 in
	--quick) stages+=(unit) ;;
	--stage)
		shift
		[[ " ${all_stages[*]} " == *" ${1:-} "* ]] ||
			die "--stage takes one of: ${all_stages[*]}"
		stages+=("$1")
		;;
	*) no_such_option "$1" ;;
	esac
	shift
done
[ ${#stages[@]} != 0 ] || stages=("${all_stages[@]}")
# Only whole gateways need huge pages.
[[ " ${stages[*]} " == *" e2e "* || " ${stages[*]} " == *" package "* ]] || setup_args=(--no-hugepages)

stage=setup
log=$logs/setup.log
mkdir -p "$logs"
exec 9>"$logs/lock"
if ! flock --nonblock 9; then
	note "another test run is at work in this tree: waiting for it to end"
	flock 9
fi
at_exit on_exit

echo "Set-up"
if QUICPORT_HUGEPAGES=${QUICPORT_HUGEPAGES:-1280} "$here/setup.sh" "${setup_args[@]}" 9>&-; then
	echo "Tests (logs: build-logs/)"
	for stage in "${stages[@]}"; do
		log=$logs/$stage.log
		: >"$log"
		"stage_$stage"
	done
else
	# It has said why.
	failed=1
	bad_stages=(setup)
fi

echo
[ ${#bad_stages[@]} = 0 ] ||
	echo "Failed in: $(printf '%s\n' "${bad_stages[@]}" | uniq | paste -sd' ') ($(elapsed $SECONDS) in all)"
lib_died=1   # the line below says all there is to say
printf '%d passed, %d failed' $passed $failed
[ $skipped = 0 ] || printf ', %d skipped' $skipped
echo
# No test at all is no success.
[ $failed = 0 ] && [ $passed != 0 ]
