// Addresses that are not public, one or more of each class that IANA keeps, and every way to write one in a URL.

export const NOT_PUBLIC_ADDRESSES = [
  ...['0.0.0.0', '0.1.2.3', '10.0.0.1', '10.255.255.255', '100.64.0.1', '100.127.255.255', '127.0.0.1', '127.1.2.3'],
  ...['127.255.255.254', '169.254.0.1', '169.254.169.254', '172.16.0.1', '172.31.255.255', '192.0.0.1', '192.0.0.170'],
  ...['192.0.2.1', '192.31.196.1', '192.52.193.1', '192.88.99.1', '192.168.0.1', '192.168.255.255', '192.175.48.1'],
  ...['198.18.0.1', '198.19.255.255', '198.51.100.1', '203.0.113.1', '224.0.0.1', '239.255.255.255', '240.0.0.1'],
  ...['255.255.255.254', '255.255.255.255'],
  ...['::', '::1', '::7f00:1', '::a00:1', '::ffff:127.0.0.1', '::ffff:10.0.0.1', '::ffff:169.254.169.254'],
  ...['::ffff:0:127.0.0.1', '64:ff9b::127.0.0.1', '64:ff9b::10.0.0.1', '64:ff9b:1::1', '100::1', '2001::1'],
  ...['2001:0:7f00:1::1', '2001:2::1', '2001:3::1', '2001:4:112::1', '2001:10::1', '2001:20::1', '2001:30::1'],
  ...['2001:db8::1', '2002:7f00:1::1', '2002:a9fe:a9fe::1', '2620:4f:8000::1', '3fff::1', '4000::1', '5f00::1'],
  ...['8000::1', 'fc00::1', 'fd00:ec2::254', 'fe80::1', 'febf::1', 'fec0::1', 'ff02::1'],
]

export const PUBLIC_ADDRESSES = [
  '1.1.1.1',
  '8.8.8.8',
  '93.184.216.34',
  '223.255.255.1',
  '2606:4700::1111',
  '2a00:1450::1',
]

/** Every spelling of a URL whose host is the address. Some are no URL at all; none may be taken where the address is not public. */
export function spellingsOf(address: string, scheme = 'https', port = ''): string[] {
  const hosts = address.includes(':') ? spellingsOfIPv6(address) : spellingsOfIPv4(address)
  const [plain] = hosts
  return [...hosts.map((host) => `${scheme}://${host}${port}/`), ...around(`${plain}${port}`, scheme)]
}

/** What stands around a host, and hides it from who reads a URL by hand. */
function around(host: string, scheme: string): string[] {
  return [
    `${scheme}://user@${host}/`,
    `${scheme}://user:pass@${host}/`,
    `${scheme}://example.com@${host}/`,
    `${scheme}://example.com%40@${host}/`,
    `${scheme}:${host}`,
    `${scheme}:/${host}/`,
    `${scheme}:////${host}/`,
    `${scheme}:\\\\${host}\\`,
    `${scheme.toUpperCase()}://${host}/`,
    `  ${scheme}://${host}/  `,
    `${scheme[0]}\t${scheme.slice(1)}:/\n/${host}/`,
    `${scheme}://${host}/?https://example.com`,
    `${scheme}://${host}/#@example.com`,
    `${scheme}://${host}?@example.com/`,
    `${scheme}://${host}\\@example.com/`,
    `${scheme}://${host}/https://example.com`,
  ]
}

function spellingsOfIPv4(address: string): string[] {
  const bytes = address.split('.').map(Number) as [number, number, number, number]
  const number = bytes.reduce((sum, byte) => sum * 256 + byte, 0)
  const [a, b, c, d] = bytes
  const hex = (value: number) => value.toString(16)
  const octal = (value: number) => value.toString(8)
  const high = hex(a * 256 + b)
  const low = hex(c * 256 + d)
  return [
    address,
    `${address}.`,
    String(number),
    `${number}.`,
    `0x${hex(number)}`,
    `0X${hex(number).toUpperCase()}`,
    `0x00000000${hex(number)}`,
    `0${octal(number)}`,
    `000000${octal(number)}`,
    bytes.map((byte) => `0x${hex(byte)}`).join('.'),
    bytes.map((byte) => `0${octal(byte)}`).join('.'),
    bytes.map((byte) => `0000${octal(byte)}`).join('.'),
    `0x${hex(a)}.${b}.0${octal(c)}.${d}`,
    `${a}.${b}.${c * 256 + d}`,
    `${a}.${b * 65_536 + c * 256 + d}`,
    `0x${hex(a)}.${b * 65_536 + c * 256 + d}`,
    fullWidth(address),
    address.replaceAll('.', '\uff0e'),
    address.replaceAll('.', '\u3002'),
    address.replaceAll('.', '\uff61'),
    [...address].map(circled).join(''),
    [...address].map(mathematical).join(''),
    [...address].map((character) => `%${hex(character.charCodeAt(0))}`).join(''),
    address.replaceAll('.', '%2e'),
    address.replaceAll('.', '.\u00ad'),
    `${address.slice(0, 1)}\t${address.slice(1)}`,
    `\u200b${address}`,
    `[::ffff:${address}]`,
    `[::ffff:${high}:${low}]`,
    `[0:0:0:0:0:FFFF:${high}:${low}]`,
    `[::${address}]`,
    `[::ffff:0:${address}]`,
    `[64:ff9b::${address}]`,
    `[64:ff9b::${high}:${low}]`,
    `[64:ff9b:1::${address}]`,
    `[2002:${high}:${low}::1]`,
    `[2001:0:${high}:${low}::1]`,
    `[2001::${hex((a * 256 + b) ^ 0xffff)}:${hex((c * 256 + d) ^ 0xffff)}]`,
  ]
}

function spellingsOfIPv6(address: string): string[] {
  const { hostname } = new URL(`http://[${address}]/`)
  const short = hostname.slice(1, -1)
  const groups = groupsOf(short)
  const whole = groups.map((group) => group.padStart(4, '0')).join(':')
  const [high, low] = groups.slice(6).map((group) => Number.parseInt(group, 16)) as [number, number]
  const tail = [high >> 8, high & 255, low >> 8, low & 255].join('.')
  return [
    `[${address}]`,
    `[${short}]`,
    `[${short.toUpperCase()}]`,
    `[${whole}]`,
    `[${groups.join(':')}]`,
    `[${groups.slice(0, 6).join(':')}:${tail}]`,
    `[${short}%25lo]`,
    `[${short}%lo]`,
    `[${short}%25eth0]`,
    `[${short}]`.replaceAll(':', '%3a'),
    `%5b${short}%5d`,
    short,
    fullWidth(`[${short}]`),
    `[${short}].`,
    `[${short}\t]`,
  ]
}

function groupsOf(short: string): string[] {
  const [left = '', right] = short.split('::')
  const before = left === '' ? [] : left.split(':')
  const after = right ? right.split(':') : []
  return right === undefined
    ? before
    : [...before, ...Array<string>(8 - before.length - after.length).fill('0'), ...after]
}

function fullWidth(text: string): string {
  return [...text].map((character) => String.fromCodePoint(character.charCodeAt(0) + 0xfee0)).join('')
}

function circled(character: string): string {
  if (character === '0') return '\u24ea'
  return /[1-9]/.test(character) ? String.fromCodePoint(0x245f + Number(character)) : character
}

function mathematical(character: string): string {
  return /\d/.test(character) ? String.fromCodePoint(0x1d7ce + Number(character)) : character
}
