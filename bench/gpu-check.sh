#!/usr/bin/env bash
# Everything that a GPU has to tell of the kernels, in at most nine minutes and useful after two: what is right, what hangs, how fast each
# product and step is beside its prediction, and why. Needs what `--build-only` left in --binaries, or CMake and nvcc; ncu, compute-sanitizer, and
# python3 with torch and transformers are used where they are.
# usage: bench/gpu-check.sh [--only 'STAGE ...'] [--layers N] [--binaries DIR] [--build-only] [--budget SECONDS] [--limit STAGE=SECONDS] [--dry-run]
# Results lie in OUT (bench/results/<gpu>-<date>): results.json, a measurement a line, table.txt and a log a stage, all of them written after
# each stage. A stage that is run again replaces its own. `echo over > $OUT/running` ends the stage that runs.
# --dry-run takes the emulator for the GPU: it shows that the stages work, and nothing of the kernels.
set -eu -o pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
root=$(dirname "$here")
PATH=$PATH:/usr/local/cuda/bin  # where images often leave nvcc, ncu and compute-sanitizer
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false  # nothing is downloaded: all weights are random
declare -A limits=()
only='' layers=48 binaries=$root/native/build-gpu budget=540 device=cuda builds_only='' is_dry=''
while [ $# -gt 0 ]; do
  case $1 in
    --only) only=$2; shift ;;
    --layers) layers=$2; shift ;;
    --binaries) binaries=$2; shift ;;
    --budget) budget=$2; shift ;;
    --limit) limits[${2%%=*}]=${2#*=}; shift ;;
    --build-only) builds_only=1 ;;
    --dry-run) is_dry=1 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
  shift
done

# The kernels' tests by what they are of, parts of names; @ is the device. A group is a process of its own, because an error of a kernel fails all
# that its process does afterwards.
declare -A groups=(
  [copies]='@: embedding|@: rms norm|@: layer norm|@: biases|@: gate and up have|@: gelu|@: positions'
  [simple]='@, simple: '
  [gemm]='@: a product |@: gate, up|@: products as long'
  [fp8]='@: fp8 weights|@: fp8 products'
  [prefill]='@: products of a prefill'
  [attention]='@: queries and|@: every head|@: attention over'
  [cache]='@: fp8 cache'
  [sampling]='@: draws |@: filters|@: temperature 0|@: a draw |@: a scored|@: penalties|@: only what|@: the latest|@: extreme|@: a row without'
  [models]="@: a model's|@: values match|@: a token's|@: more rows|@: several devices|@: a cancelled|@: a tiny model|@: the embedded|@: layers that"
  [adapters]='@: adapters'
  [parallel]='@: every rank|@: tensor parallel|@, tensor parallel'
  [recorded]='@: recorded steps|@: steps begun|@: an engine runs'
)
group_names='copies simple gemm fp8 prefill attention cache sampling models adapters parallel recorded'
all_stages="machine build bandwidth $(printf 'tests-%s ' $group_names)products steps cublas profile throughput products-fp8 steps-fp8 steps-fp8-cache steps-tp small $(printf 'suspect-%s ' $group_names)transformers served"
for name in $only ${!limits[@]}; do
  [[ " $all_stages " == *" $name "* ]] || { echo "no stage is called $name: $all_stages" >&2; exit 2; }
done
[ -z "$is_dry" ] || device=emulator
if [ -z "${OUT:-}" ]; then
  gpu=$({ nvidia-smi --query-gpu=name --format=csv,noheader 2> /dev/null || echo no gpu; } | sed -n 1p | tr ' /' '--' | tr '[:upper:]' '[:lower:]')
  OUT=$root/bench/results/$gpu-$(date +%F)
fi
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd -P)
. "$here/gpu/stage.sh"
# Whoever ends this ends the stage that runs, and has the table of what was measured until then.
trap 'if [ -n "$running_group" ]; then kill -KILL -- "-$running_group" 2> /dev/null; write_table; fi' EXIT

missing() { echo "no $1 here"; exit 77; }
needs() { command -v "$1" > /dev/null || missing "$1"; }
python_with() { needs python3; python3 -c "import $1" 2> /dev/null || missing "python3 with $1"; }

machine() { needs nvidia-smi; nvidia-smi; }
# What was built elsewhere is taken where it starts here.
build() {
  if [ -z "$builds_only" ] && "$binaries/kernel-test" --list > /dev/null 2>&1 && [ -x "$binaries/gpu-bench" ]; then echo 'built before'; return; fi
  needs cmake
  needs nvcc
  # CMake refuses the cache of a checkout that was moved since.
  grep -qsx "CMAKE_HOME_DIRECTORY:INTERNAL=$root/native" "$binaries/CMakeCache.txt" || rm -rf "$binaries"
  cmake -S "$root/native" -B "$binaries" -DCMAKE_BUILD_TYPE=Release -DZIYA_CUDA=on &&
    cmake --build "$binaries" --parallel "$(nproc)" --target kernel-test gpu-bench bandwidth
}
bandwidth() { [ -z "$is_dry" ] || missing GPU; "$binaries/bandwidth"; }

group_arguments() {  # group: one a line
  local part
  local -a parts
  IFS='|' read -ra parts <<< "${groups[$1]}"
  for part in "${parts[@]}"; do printf '%s\n%s\n' --only "${part//@/$device}"; done
}
kernel_tests() {  # group, option ...
  local -a arguments
  mapfile -t arguments < <(group_arguments "$1")
  shift
  if [ -n "$is_dry" ]; then set -- "$@" --at-most 1; else set -- "$@" --require-device; fi
  "$binaries/kernel-test" "${arguments[@]}" "$@"
}
sanitized() {  # group, tool
  local -a arguments
  mapfile -t arguments < <(group_arguments "$1")
  timeout -k 2 40 compute-sanitizer --tool "$2" --error-exitcode 1 "$binaries/kernel-test" --seed 1 "${arguments[@]}"
}
# What a group that failed does without early starts, without recordings and under the sanitizer says what kind of fault it is.
suspect() {
  local what
  for what in --no-early-start --no-recording; do
    if kernel_tests "$1" --seed 1 "$what"; then verdict "$1" "$what" passes; else verdict "$1" "$what" fails; fi
  done
  if ! command -v compute-sanitizer > /dev/null; then verdict "$1" memcheck 'is not here'
  elif sanitized "$1" memcheck; then verdict "$1" memcheck 'finds nothing'
  else verdict "$1" memcheck 'finds something'; fi
}
verdict() { echo "{\"part\": \"suspect\", \"what\": \"$1\", \"with\": \"$2\", \"it\": \"$3\"}"; }

# The ceiling of decode is what this GPU was measured to read, where that was measured.
read_tb_per_s() { sed -n 's/.*"what": "read", "tb_per_s": \([0-9.]*\).*/\1/p' "$OUT/results.json" | tail -1; }
bench() {
  local ceiling
  ceiling=$(read_tb_per_s)
  if [ -n "$is_dry" ]; then set -- "$@" --tiny; fi
  "$binaries/gpu-bench" "$@" --layers "$layers" ${ceiling:+--tb-per-s "$ceiling"}
}
profile() {
  needs ncu
  needs python3
  ncu --clock-control none --section SpeedOfLight --section WarpStateStats --section Occupancy --kernel-name-base demangled \
    --kernel-name 'regex:gemm_kernel|attention_kernel|rope_kernel|rms_norm_kernel' --launch-count 16 --page details --csv --log-file "$OUT/ncu.csv" \
    "$binaries/gpu-bench" launches --rows 8,32,256,2048 --sequences 1,32 --contexts 2048
  python3 "$here/gpu/ncu.py" "$OUT/ncu.csv"
}
cublas() { python_with torch; python3 "$here/gpu/cublas.py"; }
small() { python_with transformers; mkdir -p "$OUT/small"; python3 "$here/gpu/small_model.py" "$binaries/gpu-bench" "$OUT/small"; rm -rf "$OUT/small"; }
transformers() { python_with transformers; python3 "$here/gpu/transformers_34b.py"; }
served() {  # the whole path, with a bill, where Node is there too
  needs npm
  cd "$root" && npm start -- --once
}
# As many devices as there are, up to four; in a dry run the emulator stands for both.
steps_tp() {
  local devices=0,0
  local -a sizes=()
  if [ -z "$is_dry" ]; then
    sizes=(--sequences 1,32 --contexts 2048 --prompts 2048)
    needs nvidia-smi
    case $(nvidia-smi --list-gpus | wc -l) in
      0 | 1) missing 'second GPU' ;;
      2 | 3) devices=0,1 ;;
      *) devices=0,1,2,3 ;;
    esac
  fi
  bench steps --devices "$devices" "${sizes[@]}"
}
# A device that was lost answers nobody: what follows would only wait for it.
device_answers() { [ -n "$is_dry" ] || ! command -v nvidia-smi > /dev/null || limited 10 /dev/null nvidia-smi; }

rm -f "$OUT/running"
stage machine 15 machine || true
stage build 240 build || { echo 'there is nothing to run'; exit 1; }
[ -z "$builds_only" ] || exit 0
stage bandwidth 25 bandwidth || true
suspects=''
for group in $group_names; do
  stage "tests-$group" 25 kernel_tests "$group" && continue
  suspects="$suspects $group"
  device_answers || { echo 'the device does not answer any more'; exit 1; }
done
stage products 40 bench gemm || true
stage steps 90 bench steps || true
stage cublas 40 cublas || true
stage profile 70 profile || true
stage throughput 90 bench throughput || true
stage products-fp8 30 bench gemm --weights fp8 || true
stage steps-fp8 70 bench steps --weights fp8 --sequences 1,32 --contexts 2048 --prompts 2048 || true
stage steps-fp8-cache 50 bench steps --kv-cache fp8 --sequences 32 --contexts 2048 --prompts 2048 || true
stage steps-tp 60 steps_tp || true
stage small 50 small || true
for group in $suspects; do stage "suspect-$group" 100 suspect "$group" || true; done
stage transformers 70 transformers || true
if [[ " $only " == *' served '* ]]; then stage served 540 served || true; fi
write_table
cat "$OUT/table.txt"
[ -z "$failed_stages" ] || { echo "failed:$failed_stages"; exit 1; }
