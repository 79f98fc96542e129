// An address or a range of either kind, in the one way that a person and Postgres read it alike: IPv4 as four decimal numbers, IPv6
// without a zone, neither mapped into the other, and no bit set below the prefix. Other spellings are refused by name, never guessed at.

import ipaddr from 'ipaddr.js'
import * as z from 'zod'

export const ipRange = z
  .string()
  .max(100)
  .transform((value, context) => {
    const read = readRange(value)
    if ('range' in read) return read.range
    context.addIssue({ code: 'custom', message: read.error })
    return z.NEVER
  })

/** As Postgres writes it, or what is wrong with it. */
export function readRange(text: string): { range: string } | { error: string } {
  const [written, prefix, more] = text.split('/')
  const address = written!.includes(':') ? readIPv6(written!) : readIPv4(written!)
  if ('error' in address) return address
  const bytes = address.parsed.toByteArray()
  const bits = prefix === undefined ? 8 * bytes.length : readPrefix(prefix, 8 * bytes.length)
  if (bits === null || more !== undefined) return { error: 'expected a prefix in decimal, such as /24' }
  if (bytes.some((byte, i) => (byte & hostBits(bits, i)) !== 0))
    return { error: 'expected no bit set below the prefix, as in 10.0.0.0/8' }
  return { range: `${address.parsed.toNormalizedString()}/${bits}` }
}

type Read = { parsed: ipaddr.IPv4 | ipaddr.IPv6 } | { error: string }

const BYTE = /^(0|[1-9]\d{0,2})$/

function readIPv4(text: string): Read {
  const parts = text.split('.')
  if (parts.length !== 4 || !parts.every((part) => BYTE.test(part) && Number(part) <= 255))
    return { error: 'expected an IP address or a CIDR range: IPv4 as four decimal numbers, such as 10.1.0.0/16' }
  return { parsed: new ipaddr.IPv4(parts.map(Number)) }
}

function readIPv6(text: string): Read {
  if (text.includes('%')) return { error: 'expected an address without a zone' }
  if (text.includes('.')) return { error: 'expected IPv4 as four decimal numbers alone, and IPv6 without any' }
  if (!/^[0-9a-f:]+$/i.test(text) || !ipaddr.IPv6.isValid(text))
    return { error: 'expected an IP address or a CIDR range' }
  const parsed = ipaddr.IPv6.parse(text)
  return parsed.isIPv4MappedAddress()
    ? { error: 'expected IPv4 as four decimal numbers, not mapped into IPv6' }
    : { parsed }
}

function readPrefix(text: string, bits_max: number): number | null {
  return BYTE.test(text) && Number(text) <= bits_max ? Number(text) : null
}

/** The bits of a byte that a prefix of so many bits does not cover. */
function hostBits(prefix: number, byte: number): number {
  return 0xff >> Math.max(0, Math.min(8, prefix - 8 * byte))
}
