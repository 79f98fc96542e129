#!/usr/bin/env bash
# A chat over HTTP with nothing but curl: streamed, with what it used; then its receipt.
# usage: OPENAI_BASE_URL=http://127.0.0.1:8787/v1 OPENAI_API_KEY=zc_live_… examples/chat.sh
set -euo pipefail
: "${OPENAI_BASE_URL:?}" "${OPENAI_API_KEY:?}"
headers=$(mktemp)
trap 'rm -f "$headers"' EXIT

curl --silent --show-error --fail-with-body --no-buffer --dump-header "$headers" "$OPENAI_BASE_URL/chat/completions" \
  -H "Authorization: Bearer $OPENAI_API_KEY" -H 'Content-Type: application/json' -d '{
    "model": "ziya-coding-mini",
    "messages": [{"role": "user", "content": "写一段快速排序"}],
    "temperature": 0, "max_tokens": 300,
    "stream": true, "stream_options": {"include_usage": true}
  }'

request_id=$(sed -n 's/^x-request-id: *\([0-9a-f-]*\).*/\1/ip' "$headers")
sleep 1 # the node reports what it counted a moment after the last byte
curl --silent --show-error --fail-with-body "$OPENAI_BASE_URL/usage/$request_id" -H "Authorization: Bearer $OPENAI_API_KEY"
echo
