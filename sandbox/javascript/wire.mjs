// Frames of JSON, each after its length, between a judge and a candidate in JavaScript; what crosses is data.

import { readSync, writeSync } from 'node:fs'

const frame_bytes_max = 64 << 20

export class Gone extends Error {}

export function send(descriptor, message) {
  const body = Buffer.from(JSON.stringify(message))
  const head = Buffer.alloc(4)
  head.writeUInt32BE(body.length)
  const bytes = Buffer.concat([head, body])
  for (let done = 0; done < bytes.length; ) done += writeSync(descriptor, bytes, done)
}

export function receive(descriptor) {
  const size = readAll(descriptor, 4).readUInt32BE()
  if (size > frame_bytes_max) throw new Gone('it sent too much')
  try {
    return JSON.parse(readAll(descriptor, size).toString('utf8'))
  } catch (error) {
    throw error instanceof Gone ? error : new Gone('it sent no frame')
  }
}

function readAll(descriptor, size) {
  const bytes = Buffer.alloc(size)
  for (let done = 0; done < size; ) {
    const read = readSync(descriptor, bytes, done, size - done, null)
    if (read === 0) throw new Gone('it ended')
    done += read
  }
  return bytes
}

export function encode(value) {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value
  if (typeof value === 'number')
    return Number.isFinite(value) && !Object.is(value, -0)
      ? value
      : ['number', Object.is(value, -0) ? '-0' : String(value)]
  if (value === undefined) return ['undefined']
  if (typeof value === 'bigint') return ['bigint', String(value)]
  if (typeof value !== 'object') return ['opaque', typeof value]
  if (Array.isArray(value)) return ['array', ...Array.from(value, encode)]
  if (value instanceof Map) return ['map', ...[...value].map(([key, item]) => [encode(key), encode(item)])]
  if (value instanceof Set) return ['set', ...[...value].map(encode)]
  if (value instanceof Date) return ['date', value.getTime()]
  if (value instanceof Number || value instanceof String || value instanceof Boolean) return encode(value.valueOf())
  return ['object', ...Object.keys(value).map((key) => [key, encode(value[key])])]
}

const decoders = {
  number: ([text]) => Number(text),
  undefined: () => undefined,
  bigint: ([text]) => BigInt(text),
  opaque: () => Symbol('of the other process'),
  array: (items) => items.map(decode),
  map: (pairs) => new Map(pairs.map(([key, item]) => [decode(key), decode(item)])),
  set: (items) => new Set(items.map(decode)),
  date: ([time]) => new Date(Number(time)),
  // A key named __proto__ is a key.
  object: (pairs) => {
    const made = {}
    for (const [key, item] of pairs) {
      Object.defineProperty(made, String(key), {
        value: decode(item),
        enumerable: true,
        writable: true,
        configurable: true,
      })
    }
    return made
  },
}

export function decode(data) {
  if (!Array.isArray(data)) return data
  const [tag, ...rest] = data
  if (!Object.hasOwn(decoders, tag)) throw new Gone('it sent no value')
  return decoders[tag](rest)
}
