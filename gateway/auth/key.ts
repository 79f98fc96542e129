// Keys: `zc_live_` of an account or `zc_admin_` of an operator, thirty random base62 characters, and six that are their CRC32. A key that
// was mistyped or made up is therefore refused without asking anybody; at rest there is only its SHA-256, its beginning and its last four
// characters.

import { toHex } from '../../contract/base64url.ts'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const PREFIX = 'zc_live_'
const OPERATOR_PREFIX = 'zc_admin_'
const RANDOM_LENGTH = 30
const CHECKSUM_LENGTH = 6
const SHAPE = /^zc_live_[0-9A-Za-z]{36}$/
const OPERATOR_SHAPE = /^zc_admin_[0-9A-Za-z]{36}$/

export interface StoredKey {
  hash: string // hex
  prefix: string
  last_four: string
}

/** A new key: shown once. About 178 bits of randomness. */
export function createKey(prefix: Prefix = PREFIX): string {
  let random = ''
  while (random.length < RANDOM_LENGTH) random += base62(crypto.getRandomValues(new Uint8Array(RANDOM_LENGTH)))
  return withChecksum(prefix + random.slice(0, RANDOM_LENGTH))
}

/** The key of a secret seed: the same each time. */
export async function keyOfSeed(seed: string, prefix: Prefix = PREFIX): Promise<string> {
  let random = ''
  for (let block = 0; random.length < RANDOM_LENGTH; block += 1) {
    const text = new TextEncoder().encode(`${block} of the key of ${seed}`)
    random += base62(new Uint8Array(await crypto.subtle.digest('SHA-512', text)))
  }
  return withChecksum(prefix + random.slice(0, RANDOM_LENGTH))
}

/** A new key of an operator; of a seed the same each time. */
export async function operatorKey(seed: string | null): Promise<string> {
  return seed === null ? createKey(OPERATOR_PREFIX) : keyOfSeed(seed, OPERATOR_PREFIX)
}

type Prefix = typeof PREFIX | typeof OPERATOR_PREFIX

function withChecksum(body: string): string {
  return body + checksum(body)
}

export function isWellFormed(key: string): boolean {
  return SHAPE.test(key) && hasItsChecksum(key)
}

export function isWellFormedOperatorKey(key: string): boolean {
  return OPERATOR_SHAPE.test(key) && hasItsChecksum(key)
}

function hasItsChecksum(key: string): boolean {
  return checksum(key.slice(0, -CHECKSUM_LENGTH)) === key.slice(-CHECKSUM_LENGTH)
}

export async function storedForm(key: string): Promise<StoredKey> {
  const prefix = key.slice(0, key.lastIndexOf('_') + 5)
  return { hash: await sha256Hex(key), prefix, last_four: key.slice(-4) }
}

export async function sha256Hex(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))
  return toHex(new Uint8Array(digest))
}

// Bytes from 248 up are dropped: 248 is the last multiple of 62, so every character is equally likely.
function base62(bytes: Uint8Array): string {
  return Array.from(
    bytes.filter((byte) => byte < 248),
    (byte) => ALPHABET[byte % 62],
  ).join('')
}

function checksum(text: string): string {
  let rest = crc32(text)
  let digits = ''
  for (let i = 0; i < CHECKSUM_LENGTH; i += 1) {
    digits = ALPHABET[rest % 62] + digits
    rest = Math.floor(rest / 62)
  }
  return digits
}

// CRC-32 of IEEE 802.3 (reflected polynomial 0xEDB88320), bit by bit: a key is short.
function crc32(text: string): number {
  let crc = 0xffffffff
  for (let i = 0; i < text.length; i += 1) {
    crc ^= text.charCodeAt(i)
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  }
  return ~crc >>> 0
}
