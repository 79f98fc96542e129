#!/usr/bin/env bash
# Narrows a test that fails on a GPU down: which of the tests, which seeds, by which way to launch, and what the sanitizer says of the shortest case.
# usage: bench/gpu-bisect.sh PART_OF_A_TEST'S_NAME [--binaries DIR] [--seeds N] [--seconds N: of one run]
# Each run is a process group of its own, which is ended when its time is over. What was found lies in OUT (bench/results/bisect).
set -eu -o pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
root=$(dirname "$here")
PATH=$PATH:/usr/local/cuda/bin
name='' binaries=$root/native/build-gpu seeds=8 seconds=20
while [ $# -gt 0 ]; do
  case $1 in
    --binaries) binaries=$2; shift ;;
    --seeds) seeds=$2; shift ;;
    --seconds) seconds=$2; shift ;;
    -*) echo "unknown option $1" >&2; exit 2 ;;
    *) name=$1 ;;
  esac
  shift
done
[ -n "$name" ] || { echo "usage: bench/gpu-bisect.sh PART_OF_A_TEST'S_NAME" >&2; exit 2; }
OUT=${OUT:-$root/bench/results/bisect}
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd -P)
. "$here/gpu/stage.sh"
trap '[ -z "$running_group" ] || kill -KILL -- "-$running_group" 2> /dev/null' EXIT
: > "$OUT/bisect.json"

# What came of a run with these options: passed, failed, hung or crashed, and what it said first.
attempt() {  # what, option ...
  local what=$1 status=0 log=$OUT/attempt.log outcome
  shift
  : > "$log"
  limited "$seconds" "$log" "$binaries/kernel-test" "$@" || status=$?
  outcome=$(outcome_of "$status" "$seconds" "$log")
  echo "  $what: $outcome"
  [ "$status" = 0 ] || grep -a -m 1 -A 1 '^not ok' "$log" || tail -1 "$log"
  echo "{\"part\": \"bisect\", \"what\": \"${what//\"/}\", \"outcome\": \"$outcome\"}" >> "$OUT/bisect.json"
  return "$status"
}

mapfile -t tests < <("$binaries/kernel-test" --list --only "$name")
[ ${#tests[@]} -gt 0 ] || { echo "no test is called so: $name" >&2; exit 2; }
failing=()
for test in "${tests[@]}"; do
  echo "$test"
  bad=''
  for ((seed = 1; seed <= seeds; seed++)); do attempt "seed $seed" --only "$test" --seed "$seed" || { bad=$seed; break; }; done
  [ -z "$bad" ] || failing+=("$bad $test")
done
for found in "${failing[@]}"; do
  seed=${found%% *} test=${found#* }
  echo "$test, seed $seed"
  # What always fails the same way is arithmetic or an address; what does not is a race.
  for again in 1 2 3; do attempt "again $again" --only "$test" --seed "$seed" || true; done
  attempt 'without early starts' --only "$test" --seed "$seed" --no-early-start || true
  attempt 'without recordings' --only "$test" --seed "$seed" --no-recording || true
  attempt 'without either' --only "$test" --seed "$seed" --no-early-start --no-recording || true
  CUDA_LAUNCH_BLOCKING=1 attempt 'one launch at a time' --only "$test" --seed "$seed" || true
  # The same test of the simple kernels says whether the fast one is to blame.
  simple=${test/cuda:/cuda, simple:}
  if [ "$simple" != "$test" ]; then attempt 'by the simple kernels' --only "$simple" --seed "$seed" || true; fi
  command -v compute-sanitizer > /dev/null || continue
  for tool in memcheck racecheck synccheck initcheck; do
    : > "$OUT/$tool.log"
    status=0
    limited $((seconds * 4)) "$OUT/$tool.log" compute-sanitizer --tool $tool --error-exitcode 1 "$binaries/kernel-test" --only "$test" --seed "$seed" || status=$?
    echo "  $tool: $(outcome_of "$status" $((seconds * 4)) "$OUT/$tool.log")"
    grep -a -m 3 '=========.*\(Invalid\|Error\|hazard\|Uninit\)' "$OUT/$tool.log" || true
  done
done
echo "${#failing[@]} of ${#tests[@]} fail"
[ ${#failing[@]} = 0 ]
