# The candidate's process: the first line is its program, every other a call: the function and its arguments, each in base64. The reply is
# the status and what the function printed, in base64.
exec 8<&0 9>&1 0</dev/null 1>/dev/null 2>/dev/null
read -r program <&8
eval "$(base64 -d <<<"$program")"
while read -r -a words <&8; do
  values=()
  for word in "${words[@]}"; do
    value=$(base64 -d <<<"${word%.}"; printf .)
    values+=("${value%.}")
  done
  printed=$("${values[@]}" | base64 -w0; exit "${PIPESTATUS[0]}")
  printf '%s %s.\n' "$?" "$printed" >&9
done
