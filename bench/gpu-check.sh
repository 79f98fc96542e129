#!/usr/bin/env bash
# All of the GPU's checks and measurements with one command, on a machine with CMake, nvcc and python3 with torch.
# usage: bench/gpu-check.sh [--only build|tests|sanitizer|small|bandwidth|gemm|cublas|decode|prefill|throughput|transformers|served]
#        [--layers N]
# Writes bench/results/<gpu>-<date>.json, one measurement a line, and prints them as a table last. A part that is run again
# replaces its own lines. No command of a part is given more than 9 minutes.
set -eu -o pipefail
cd "$(dirname "$0")/.."
parts='build tests sanitizer small bandwidth gemm cublas decode prefill throughput transformers served'
only='' layers=48
while [ $# -gt 0 ]; do
  case $1 in
    --only) only=${2-}; shift 2 ;;
    --layers) layers=${2-}; shift 2 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
done
case " $parts  " in *" $only "*) ;; *) echo "no part is called $only: $parts" >&2; exit 2 ;; esac
PATH=$PATH:/usr/local/cuda/bin  # where images often leave nvcc and compute-sanitizer
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false  # nothing is downloaded: all weights are random
build=native/build-gpu
gpu=$({ nvidia-smi --query-gpu=name --format=csv,noheader 2> /dev/null || echo no gpu; } | sed -n 1p | tr ' /' '--' | tr '[:upper:]' '[:lower:]')
results=bench/results/$gpu-$(date +%F).json
mkdir -p bench/results
failed=''

part() {  # name, command ...: a failed part is told, and the next one runs
  local name=$1
  shift
  [ -z "$only" ] || [ "$only" = "$name" ] || return 0
  echo "== $name"
  local started=$SECONDS
  if [ -f "$results" ]; then sed -i "/^{\"part\": \"$name\",/d" "$results"; fi
  if "$@"; then echo "== $name: done in $((SECONDS - started)) s"; else echo "== $name: FAILED after $((SECONDS - started)) s"; failed="$failed $name"; fi
}

limited() { timeout --verbose 540 "$@"; }
# Shows everything, and keeps the measurements of a part that breaks off, too.
record() { tee >(cat >&2) | { grep '^{' || true; } >> "$results"; }

build_all() {
  # CMake refuses the cache of a checkout that was moved since.
  grep -qsx "CMAKE_HOME_DIRECTORY:INTERNAL=$(pwd -P)/native" $build/CMakeCache.txt || rm -rf $build
  limited cmake -S native -B $build -DCMAKE_BUILD_TYPE=Release > /dev/null &&
    limited cmake --build $build --parallel "$(nproc)" --target kernel-test gpu-bench &&
    limited nvcc -std=c++20 -O3 -arch=native bench/gpu/bandwidth.cu -o $build/bandwidth
}
sanitize() {  # what one of them finds does not hide what the next would
  local tool test ok=0
  for tool in memcheck racecheck; do
    for test in 'cuda: a product is right' 'cuda: attention over' 'cuda: penalties'; do
      timeout --verbose 90 compute-sanitizer --tool $tool --error-exitcode 1 $build/kernel-test --seed 1 --only "$test" ||
        { echo "$tool of '$test': FAILED"; ok=1; }
    done
  done
  return $ok
}
# The ceiling of decode is what this GPU was measured to read, where that part was run.
read_tb_per_s() { sed -n 's/.*"what": "read", "tb_per_s": \([0-9.]*\).*/\1/p' "$results" 2> /dev/null | tail -1; }
bench() {
  local ceiling
  ceiling=$(read_tb_per_s) || true
  limited $build/gpu-bench "$@" --layers "$layers" ${ceiling:+--tb-per-s "$ceiling"} | record
}
bandwidth() { limited $build/bandwidth | record; }
small() { limited python3 bench/gpu/small_model.py $build/gpu-bench $build | record; }
served() {  # the whole path, with a bill, where Node is there too
  command -v npm > /dev/null || { echo 'no Node here'; return 0; }
  limited npm start -- --once
}
python() { limited python3 "bench/gpu/$1" | record; }

part build build_all
part tests limited $build/kernel-test --only cuda
part sanitizer sanitize
part small small
part bandwidth bandwidth
part gemm bench gemm
part cublas python cublas.py
part decode bench decode
part prefill bench prefill
part throughput bench throughput
part transformers python transformers_34b.py
part served served
[ ! -s "$results" ] || python3 bench/gpu/table.py "$results"
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
