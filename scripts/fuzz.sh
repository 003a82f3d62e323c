#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs the libFuzzer targets of tests/fuzz, one after the other, each from its kept corpus.
# shellcheck source-path=SCRIPTDIR disable=SC2034
set -euo pipefail

here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
cd "$here/.."
# shellcheck source=lib.sh
. "$here/lib.sh"

usage() {
	cat <<'EOF'
Usage: scripts/fuzz.sh [--seconds N] [--keep] [TARGET...]

  --seconds N  how long each target runs (default: 60)
  --keep       afterwards add to tests/fuzz/corpus what reached new code, as few and small as can be
  TARGET       one of tests/fuzz/fuzz_TARGET.c, e.g. tcp_states (default: all)

Builds with clang, AddressSanitizer and UndefinedBehaviorSanitizer in build-fuzz. What made a target
fail is kept in build-fuzz/crashes; the target run with that file alone shows it again.
EOF
}

seconds=60
keep=0
targets=()
while [ $# -gt 0 ]; do
	case $1 in
	--seconds)
		[[ ${2:-} =~ ^[1-9][0-9]{0,5}$ ]] || die "--seconds takes a number from 1 up, not \"${2:-}\""
		seconds=$2
		shift
		;;
	--keep) keep=1 ;;
	--help | -h)
		usage
		exit 0
		;;
	-*) die "unknown option $1" "See: scripts/fuzz.sh --help" ;;
	*)
		[ -f "tests/fuzz/fuzz_$1.c" ] || die "there is no fuzz target \"$1\"" \
			"There are: $(cd tests/fuzz && echo fuzz_*.c | sed 's/fuzz_\([a-z0-9_]*\)\.c/\1/g')"
		targets+=("$1")
		;;
	esac
	shift
done
if [ ${#targets[@]} = 0 ]; then
	for source in tests/fuzz/fuzz_*.c; do
		source=${source#tests/fuzz/fuzz_}
		targets+=("${source%.c}")
	done
fi

mkdir -p build-logs build-fuzz
log=$PWD/build-logs/fuzzing.log
: >"$log"
trap 'clean_exit $?' EXIT

build() {
	[ -f build-fuzz/build.ninja ] || CC=clang meson setup build-fuzz -Dfuzz=true -Db_lundef=false \
		-Db_sanitize=address,undefined || return
	ninja -C build-fuzz "${targets[@]/#/tests/fuzz/fuzz_}"
}

# libFuzzer writes what it finds to the first folder, and only reads the second. Weighing inputs by
# their rare features takes it longer than running them: without, the TCP's targets run 12 times as often.
fuzz() {
	build-fuzz/tests/fuzz/fuzz_"$1" -entropic=0 -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
		-print_final_stats=1 -artifact_prefix="build-fuzz/crashes/$1-" \
		"build-fuzz/corpus/$1" "tests/fuzz/corpus/$1"
}

keep() {
	build-fuzz/tests/fuzz/fuzz_"$1" -merge=1 "tests/fuzz/corpus/$1" "build-fuzz/corpus/$1"
}

# "1,234 runs, 567 edges"
figures() {
	awk '/^==== / { runs = edges = 0 }
		/number_of_executed_units/ { runs = $2 }
		/ cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") edges = $(i + 1) }
		END { printf "%d runs, %d edges", runs, edges }' "$log"
}

must_run "building the fuzz targets" build
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
failed=()
for target in "${targets[@]}"; do
	mkdir -p "build-fuzz/corpus/$target" build-fuzz/crashes
	run_limit=$((seconds + 60))
	if ! run_logged "$target" fuzz "$target"; then
		failed+=("$target")
		log_end 60 '        | '
		note "again, with the file that it names: build-fuzz/tests/fuzz/fuzz_$target build-fuzz/crashes/$target-..."
		continue
	fi
	note "$(figures)"
	run_limit=600
	[ $keep = 0 ] || run_logged "$target: keeping new seeds" keep "$target" || failed+=("$target")
done
[ ${#failed[@]} = 0 ] || die "failed: ${failed[*]}"
