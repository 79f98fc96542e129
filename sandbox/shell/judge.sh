# The judge's process: nonce, function, tests and candidate come as lines, the last two in base64. Calls of the function go to the
# candidate's process. The verdict is a line that begins with the nonce; without one, the last line on stderr is the test that failed.
read -r nonce
read -r name
read -r tests
read -r candidate
printf '%s\n' "$candidate" >&4
ask() {
  local words=() word
  for word in "$@"; do words+=("$(printf %s "$word" | base64 -w0)."); done
  printf '%s\n' "${words[*]}" >&4
  local status printed
  read -r status printed <&3 || { echo "the candidate's process: it ended" >&2; return 1; }
  base64 -d <<<"${printed%.}"
  return "$status"
}
eval "$name() { ask $name \"\$@\"; }"
set -E
trap 'echo "$BASH_COMMAND" >&2' ERR
eval "$(base64 -d <<<"$tests")" >/dev/null
printf '%s{"passed":true,"failure":null}\n' "$nonce"
