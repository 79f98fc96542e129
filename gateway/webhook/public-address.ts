// Which addresses are public: all but those that IANA keeps for something else, for IPv6 within what is given out at all (2000::/3). An
// address that stands for another one (mapped, compatible, 6to4, NAT64, Teredo) is none, whatever it stands for.
// One list for both checks: of literals here, when a URL is saved, and of every address that a name has, when it is connected to: on one
// machine by the network of workerd, which is given this list (local/gateway.ts). Cloudflare's own has no way to others.

import ipaddr from 'ipaddr.js'

export const NOT_PUBLIC: readonly string[] = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.31.196.0/24',
  '192.52.193.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '192.175.48.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/3',
  '4000::/2',
  '8000::/1',
  '2001::/23',
  '2001:db8::/32',
  '2002::/16',
  '2620:4f:8000::/48',
  '3fff::/20',
]

type Address = ipaddr.IPv4 | ipaddr.IPv6

/** Whether a request may go to this address, as URL writes it. `allowed`: ranges that the operator opened. */
export function mayReach(address: string, allowed: readonly string[]): boolean {
  const parsed = ipaddr.parse(address)
  return isIn(parsed, allowed) || !isIn(parsed, NOT_PUBLIC)
}

export function isIn(address: Address, ranges: readonly string[]): boolean {
  return ranges.some((range) => {
    const [network, bits] = ipaddr.parseCIDR(range)
    return network.kind() === address.kind() && address.match(network, bits)
  })
}

/**
 * The rules of workerd's network. Of two that match, the narrower holds, and of two as wide the one that denies: so an opened range is
 * written as its halves.
 */
export function networkRules(allowed: readonly string[]): { allow: string[]; deny: readonly string[] } {
  return { allow: ['public', ...allowed.flatMap(halvesOf)], deny: NOT_PUBLIC }
}

function halvesOf(range: string): string[] {
  const [network, bits] = ipaddr.parseCIDR(range)
  const bytes = network.toByteArray()
  if (bits === 8 * bytes.length) return [range]
  const upper = bytes.map((byte, i) => (i === bits >> 3 ? byte | (0x80 >> (bits & 7)) : byte))
  return [bytes, upper].map((half) => `${ipaddr.fromByteArray(half)}/${bits + 1}`)
}
