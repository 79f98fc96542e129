# Sourced: stages that nothing can hold up. Each is a process group of its own with a time of its own; what it measured is kept however it ends.
# The including script sets OUT, and for stages here, all_stages, only, budget and limits.

stages=''        # that were begun or left out, in order
failed_stages=''
running_group=''

# limited SECONDS LOG COMMAND...: returns what the command did, or 124 where it was ended because its time was over. What cannot be ended, as
# a process that waits in a driver, is left behind. A line written to $OUT/running ends the stage too.
limited() {
  local limit=$1 log=$2 status=124 group ends
  shift 2
  rm -f "$OUT/running"
  mkfifo "$OUT/running"
  exec {ends}<> "$OUT/running"
  set -m  # a group of its own
  { ("$@") < /dev/null >> "$log" 2>&1 {ends}>&-; echo $? >&"$ends"; } &
  group=$!
  set +m
  disown "$group"
  running_group=$group
  if ! read -t "$limit" -r status <&"$ends" || ! [[ $status =~ ^[0-9]+$ ]]; then
    status=124
    end_group "$group" "$ends"
  fi
  running_group=''
  exec {ends}>&-
  rm -f "$OUT/running"
  return "$status"
}

end_group() {  # group, descriptor that tells of its end
  local said
  kill -TERM -- "-$1" 2> /dev/null || return 0
  read -t 2 -r said <&"$2" || true
  kill -KILL -- "-$1" 2> /dev/null || true
}

outcome_of() {  # status, limit, log
  case $1 in
    0) echo passed ;;
    77) echo "left out: $(tail -1 "$3")" ;;
    124) echo "hung: ended after $2 s" ;;
    1[3-9][0-9]) echo "crashed: signal $(($1 - 128))" ;;
    *) echo "failed: $1" ;;
  esac
}

# stage NAME SECONDS COMMAND...: passes when the command returns 0; 77 leaves it out, for the reason in its last line. One that is run again
# replaces its own measurements.
stage() {
  local name=$1 limit=${limits[$1]:-$2} left=$((budget - SECONDS)) started=$SECONDS status=0 outcome
  shift 2
  [ -z "$only" ] || [[ " $only " == *" $name "* ]] || return 0
  stages="$stages $name"
  echo "== $name"
  : > "$OUT/$name.log"
  if ((left < 1)); then
    outcome='left out: no time is left'
    status=1
  else
    if ((limit > left)); then limit=$left; fi
    limited "$limit" "$OUT/$name.log" "$@" || status=$?
    outcome=$(outcome_of "$status" "$limit" "$OUT/$name.log")
  fi
  finish_stage "$name" "$outcome" $((SECONDS - started))
  if [ "$status" != 0 ] && [ "$status" != 77 ]; then
    failed_stages="$failed_stages $name"
    return 1
  fi
}

finish_stage() {  # name, outcome, seconds
  { grep -a '^{.*}$' "$OUT/$1.log" || true; echo "{\"part\": \"stage\", \"what\": \"$1\", \"outcome\": \"${2//\"/}\", \"seconds\": $3}"; } > "$OUT/$1.lines"
  [[ $2 == passed ]] || tail -5 "$OUT/$1.log"
  write_results
  [ -n "${is_dry:-}" ] || write_table
  echo "== $1: $2 ($3 s)"
}

# All that was measured so far, as lines of JSON.
write_results() {
  local name
  for name in $all_stages; do [ ! -f "$OUT/$name.lines" ] || cat "$OUT/$name.lines"; done > "$OUT/results.json"
}

# The same as a table, where there is a python3 to lay it out.
write_table() {
  if command -v python3 > /dev/null; then
    python3 "$here/gpu/table.py" "$OUT/results.json" "$here/gpu/predicted.json" > "$OUT/table.txt" || true
  else
    cp "$OUT/results.json" "$OUT/table.txt"
  fi
}
