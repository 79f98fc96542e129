#!/usr/bin/env bash
# Runs addresses.test.ts, all of it, in a network of its own in which every address there is leads back to the machine: whatever is let through
# reaches the sentinel. There a name changes what it stands for between the check and the connection. Needs root.
set -euo pipefail
cd "$(dirname "$0")/../../.."
hosts=$(mktemp)
trap 'rm -f "$hosts"' EXIT
printf '127.0.0.1 localhost ip6-localhost rebound.customer.com\n::1 localhost ip6-localhost\n' > "$hosts"
export EVERY_ADDRESS_IS_HERE=yes ADDRESSES="${ADDRESSES:-10000}"
unshare --net --mount bash -c "
  ip link set lo up
  ip route add local 0.0.0.0/0 dev lo
  ip -6 route add local ::/0 dev lo
  mount --bind $hosts /etc/hosts
  exec node_modules/.bin/vitest run test/gateway/webhook/addresses.test.ts --maxWorkers=1"
