// Where a webhook may be sent: to a public address, over TLS, and nowhere that somebody could not have meant. The parser of URLs has
// brought every spelling of an address into one form before it is looked at. What a name stands for is checked when it is connected to.

import ipaddr from 'ipaddr.js'
import { isIn, mayReach } from './public-address.ts'

const URL_LENGTH_MAX = 2048
const PORT_MIN = 1024 // below, only those of HTTP
const OF_HTTP = ['', '80', '443']

// Ports of services that answer whatever is sent to them, or that browsers refuse.
const OTHER_SERVICES = new Set(
  [
    '1433',
    '1521',
    '2049',
    '2375',
    '2379',
    '3306',
    '3659',
    '4045',
    '5060',
    '5061',
    '5432',
    '6000',
    '6379',
    '6566',
  ].concat([
    '6665',
    '6666',
    '6667',
    '6668',
    '6669',
    '6679',
    '6697',
    '8086',
    '9042',
    '9200',
    '9300',
    '10080',
    '11211',
    '27017',
  ]),
)

// Names that are of a machine or of a network of somebody's own (RFC 6761, 6762, 7686, 8375, and what ICANN keeps for that).
const PRIVATE_NAME =
  /(^|\.)(localhost|local|internal|intranet|lan|home|corp|onion|test|invalid|example|arpa|localdomain)$/

export interface Rules {
  /** Ranges that the operator opened. Within them a URL may be of plain HTTP. */
  allowed: readonly string[]
  /** The gateway's own host. */
  own_host: string
}

/** The URL as it is kept, or what is wrong with it. */
export function readTarget(text: string, { allowed, own_host }: Rules): { url: string } | { error: string } {
  const url = URL.parse(text)
  if (!url || text.length > URL_LENGTH_MAX) return { error: `expected a URL of at most ${URL_LENGTH_MAX} characters` }
  const address = addressOf(url.hostname)
  const is_opened = address !== null && isIn(address, allowed)
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && is_opened)) return { error: 'expected https://' }
  if (url.username !== '' || url.password !== '') return { error: 'expected no name or password in it' }
  if (!is_opened && !mayUsePort(url.port)) return { error: 'its port is not one that webhooks are sent to' }
  if (url.host === own_host) return { error: 'it is this API itself' }
  const is_public = address ? mayReach(address.toString(), allowed) : isPublicName(url.hostname)
  if (!is_public) return { error: 'its host is not a public one' }
  url.hash = ''
  return { url: url.href }
}

/** The address that the host is, or null where it is a name. */
function addressOf(host: string): ipaddr.IPv4 | ipaddr.IPv6 | null {
  const literal = host.startsWith('[') ? host.slice(1, -1) : host
  return ipaddr.isValid(literal) ? ipaddr.parse(literal) : null
}

function mayUsePort(port: string): boolean {
  return OF_HTTP.includes(port) || (Number(port) >= PORT_MIN && !OTHER_SERVICES.has(port))
}

function isPublicName(host: string): boolean {
  const name = host.replace(/\.$/, '')
  return name.includes('.') && !PRIVATE_NAME.test(name)
}
