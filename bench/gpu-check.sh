#!/usr/bin/env bash
# All of the GPU's checks and measurements with one command, on a machine with CMake, nvcc and python3 with torch.
# usage: bench/gpu-check.sh [--only build|tests|sanitizer|small|bandwidth|gemm|cublas|decode|prefill|throughput|transformers|served]
#        [--layers N]
# Writes bench/results/<gpu>-<date>.json, one measurement a line, and prints them as a table last.
set -eu -o pipefail
cd "$(dirname "$0")/.."
only='' layers=48
while [ $# -gt 0 ]; do
  case $1 in
    --only) only=$2; shift 2 ;;
    --layers) layers=$2; shift 2 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
done
build=native/build-gpu
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1 | tr ' ' '-' | tr '[:upper:]' '[:lower:]')
results=bench/results/$gpu-$(date +%F).json
mkdir -p bench/results

part() {  # name, command ...: a failed part is told, and the next one runs
  local name=$1
  shift
  [ -z "$only" ] || [ "$only" = "$name" ] || return 0
  echo "== $name"
  local started=$SECONDS
  if "$@"; then echo "== $name: done in $((SECONDS - started)) s"; else echo "== $name: FAILED"; failed="${failed:-} $name"; fi
}

record() { tee /dev/stderr | grep '^{' >> "$results"; }
build_all() {
  cmake -S native -B $build -DCMAKE_BUILD_TYPE=Release > /dev/null &&
    cmake --build $build --parallel "$(nproc)" --target kernel-test gpu-bench &&
    nvcc -std=c++20 -O3 -gencode arch=compute_90a,code=sm_90a bench/gpu/bandwidth.cu -o $build/bandwidth
}
sanitize() {
  local tool
  for tool in memcheck racecheck; do
    compute-sanitizer --tool $tool --error-exitcode 1 $build/kernel-test --seed 1 --only 'cuda: a product is right' || return 1
    compute-sanitizer --tool $tool --error-exitcode 1 $build/kernel-test --seed 1 --only 'cuda: attention over' || return 1
    compute-sanitizer --tool $tool --error-exitcode 1 $build/kernel-test --seed 1 --only 'cuda: penalties' || return 1
  done
}
bench() { $build/gpu-bench "$@" --layers "$layers" | record; }
bandwidth() { $build/bandwidth | record; }
small() { python3 bench/gpu/small_model.py $build/gpu-bench $build | record; }
served() {  # the whole path, with a bill, where Node is there too
  command -v npm > /dev/null || { echo 'no Node here'; return 0; }
  npm start -- --once
}
python() { python3 "bench/gpu/$1" | record; }

part build build_all
part tests $build/kernel-test --only cuda
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
[ -z "${failed:-}" ] || { echo "failed:$failed"; exit 1; }
