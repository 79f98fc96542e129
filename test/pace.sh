#!/usr/bin/env bash
# The test files in which time plays a part, RUNS=n times each by WORKERS=n at once: as they are, with every core loaded, and at a quarter of the speed, by
# a cgroup where its files can be written, else by cpulimit.
# usage: bash test/pace.sh [alone|loaded|quarter …] [-- FILE …]
set -u
cd "$(dirname "$0")/.."
PATH=$PWD/node_modules/.bin:$PATH
ways=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do ways+=("$1"); shift; done
[ "${1:-}" = -- ] && shift
[ ${#ways[@]} -gt 0 ] || ways=(alone loaded quarter)
files=("$@")
[ ${#files[@]} -gt 0 ] || files=(test/main-job test/gpu-node/serve test/gpu-node/meter test/gpu-node/run/runner.test.ts
  test/gpu-node/run/contract.test.ts test/gpu-node/run/native/step-loop.test.ts test/gpu-node/run/native/scheduler.test.ts
  test/gpu-node/main.test.ts test/gateway/limits.test.ts test/gateway/money.test.ts test/gateway/generate test/gateway/idempotency.test.ts
  test/gateway/db/lane.test.ts test/native/addon.test.ts test/local/gateway.test.ts test/local/part.test.ts test/local/stop.test.ts)
group=/sys/fs/cgroup/cpu/ziya-pace-$$
busy=()

load() { for _ in $(seq "$(nproc)"); do (while :; do :; done) & busy+=($!); done; }
calm() { [ ${#busy[@]} -eq 0 ] || kill "${busy[@]}"; busy=(); rmdir "$group" 2>/dev/null; }
trap calm EXIT

slowly() {
  if mkdir "$group" 2>/dev/null && echo $(($(nproc) * 25000)) >"$group/cpu.cfs_quota_us" 2>/dev/null; then
    (echo "$BASHPID" >"$group/cgroup.procs" && exec "$@")
  else
    cpulimit --include-children --limit $(($(nproc) * 25)) -- "$@"
  fi
}

failures=0
for way in "${ways[@]}"; do
  for run in $(seq "${RUNS:-1}"); do
    [ "$way" = loaded ] && load
    if [ "$way" = quarter ]; then slowly vitest run --maxWorkers="${WORKERS:-2}" "${files[@]}"; else vitest run --maxWorkers="${WORKERS:-2}" "${files[@]}"; fi
    status=$?
    calm
    [ $status -eq 0 ] || failures=$((failures + 1))
    echo "$way, run $run: $([ $status -eq 0 ] && echo passed || echo FAILED)"
  done
done
echo "$failures failures"
[ $failures -eq 0 ]
