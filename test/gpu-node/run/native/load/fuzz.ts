// A process of its own (see fuzz.test.ts) that changes good files at random and reads them: the only outcomes are tensors
// that lie inside the file, or a ModelError. Checksums and lengths are mended half of the time, else nothing behind them
// would ever be reached.
// usage: node fuzz.ts RUNS SEED FOLDER   the folder holds whole.safetensors, whole.bin, state.pkl and the tokenizers

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { type FoundTensor, withModelFile } from '../../../../../gpu-node/run/native/load/model-file.ts'
import { readSafetensors } from '../../../../../gpu-node/run/native/load/safetensors.ts'
import { readTorchFile } from '../../../../../gpu-node/run/native/load/torch-file.ts'
import { storedEntries } from '../../../../../gpu-node/run/native/load/zip.ts'
import { ModelError } from '../../../../../gpu-node/run/native/model-error.ts'
import {
  parseTokenizerModel,
  type TokenizerModel,
} from '../../../../../gpu-node/run/native/tokenizer/sentencepiece-file.ts'
import { Tokenizer } from '../../../../../gpu-node/run/native/tokenizer/tokenizer.ts'
import { parseTokenizerJson } from '../../../../../gpu-node/run/native/tokenizer/tokenizer-json.ts'
import { seededRandom } from '../../../../support/random.ts'
import { numbers, torchEntries, zeroTensors, zipBytes } from '../../../../support/torch-file.ts'

const READ_CPU_MS_MAX = 5000 // of the process's own time: what the machine does besides is no part of it
const MEMORY_MB_MAX = 512

const [runs_max, seed, folder] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4]!]
const random = seededRandom(seed)
const good = (name: string) => readFileSync(join(folder, name))
const safetensors = good('whole.safetensors')
const zip = good('whole.bin')
const pickle = good('state.pkl')
const tokenizer = good('tokenizer.model')
const tokenizer_json = good('tokenizer.json')
const storages = torchEntries(zeroTensors(JSON.parse(good('shapes.json').toString())))
const header = safetensors.subarray(8, 8 + Number(safetensors.readBigUInt64LE()))

interface Target {
  name: string
  make(): Buffer
  read(path: string, bytes: Buffer): FoundTensor[]
}

const TARGETS: Target[] = [
  { name: 'safetensors', make: () => changed(safetensors), read: readSafetensors },
  { name: 'safetensors header', make: mendedSafetensors, read: readSafetensors },
  { name: 'bin', make: () => changed(zip), read: readTorchFile },
  { name: 'bin pickle', make: mendedZip, read: readTorchFile },
  { name: 'tokenizer', make: () => changed(tokenizer), read: (_, bytes) => used(parseTokenizerModel(bytes)) },
  { name: 'tokenizer.json', make: changedTokenizerJson, read: (_, bytes) => used(parseTokenizerJson(`${bytes}`)) },
]

/** Whatever was read can be used. */
function used(model: TokenizerModel): FoundTensor[] {
  const ids = new Tokenizer(model).encode('a<human>ab b<cut>\u2581two words é')
  if (!ids.every((id) => id in model.pieces)) throw new Error(`the ids ${ids}`)
  return []
}

function changedTokenizerJson(): Buffer {
  return random.chance(0.7) ? changedJson(tokenizer_json.toString()) : changed(tokenizer_json)
}

const outcomes: Record<string, Record<string, number>> = {}
let runs = 0

function main(): void {
  for (; runs < runs_max; runs++) {
    const target = TARGETS[runs % TARGETS.length]!
    const bytes = target.make()
    const before = process.cpuUsage()
    const outcome = outcomeOf(target, bytes)
    const { user, system } = process.cpuUsage(before)
    if (user + system > READ_CPU_MS_MAX * 1000) fail(`${target.name} took ${(user + system) / 1000} ms of CPU`, bytes)
    const counts = outcomes[target.name] ?? {}
    outcomes[target.name] = { ...counts, [outcome]: (counts[outcome] ?? 0) + 1 }
  }
  const memory_mb = process.resourceUsage().maxRSS >> 10
  if (memory_mb > MEMORY_MB_MAX) fail(`${memory_mb} MB of memory`)
  console.log(JSON.stringify({ runs, memory_mb, outcomes }))
}

function outcomeOf({ name, read }: Target, bytes: Buffer): string {
  const path = join(folder, 'changed')
  writeFileSync(path, bytes)
  try {
    const tensors = read(path, bytes)
    const places = tensors.length > 0 ? placesIn(path, bytes) : []
    for (const tensor of tensors) requireInside(tensor, places)
    return 'ok'
  } catch (error) {
    if (error instanceof ModelError) return error.code
    return fail(`${name}: ${(error as Error).stack}`, bytes)
  }
}

/** Where the bytes of a tensor may lie: in an entry of a zip file, or behind the header of safetensors. */
function placesIn(path: string, bytes: Buffer): { offset: number; bytes: number }[] {
  if (bytes.readUInt16LE() === 0x4b50) return withModelFile(path, (file) => [...storedEntries(file).values()])
  const offset = 8 + Number(bytes.readBigUInt64LE())
  return [{ offset, bytes: bytes.length - offset }]
}

// How many bytes a type takes that nobody computes with is not known.
function requireInside(tensor: FoundTensor, places: ReturnType<typeof placesIn>): void {
  const { name, dtype, shape, offset, bytes, unusable } = tensor
  const values = shape.reduce((product, length) => product * length, 1)
  const has_place = places.some((place) => offset >= place.offset && offset + bytes <= place.offset + place.bytes)
  if (!has_place || (!unusable && bytes !== values * (dtype === 'F32' ? 4 : 2)))
    throw new Error(`${name} [${shape}] of ${dtype} is at ${offset}, ${bytes} bytes`)
}

function fail(what: string, bytes: Buffer = Buffer.alloc(0)): never {
  console.error(`seed ${seed}, run ${runs}: ${what}\n${bytes.length < 20_000 ? bytes.toString('base64') : ''}`)
  process.exit(1)
}

function mendedSafetensors(): Buffer {
  const json = random.chance(0.5) ? changedJson(header.toString()) : changed(header)
  return Buffer.concat([numbers([8, json.length]), json, safetensors.subarray(8 + header.length)])
}

function mendedZip(): Buffer {
  const entries = storages.map((entry) =>
    entry.name.endsWith('.pkl')
      ? { ...entry, data: random.chance(0.5) ? changed(pickle) : changedNumbers(pickle) }
      : entry,
  )
  const options = { zip64: random.chance(0.3), sizes_follow: random.chance(0.5) }
  return zipBytes(random.chance(0.1) ? entries.toSpliced(random.below(entries.length), 1) : entries, options)
}

/** Other values for what BININT1 (K) and BININT2 (M) push: sizes, strides, first values. */
function changedNumbers(bytes: Buffer): Buffer {
  const result = Buffer.from(bytes)
  const places = [...result.keys()].filter((i) => (result[i] === 0x4b || result[i] === 0x4d) && i + 2 < result.length)
  for (let n = random.below(3); n >= 0; n--) result[random.pick(places) + 1] = random.pick([0, 1, 2, 8, 9, 12, 255])
  return result
}

/** A few random changes of bytes. */
function changed(bytes: Buffer): Buffer {
  let result: Buffer = Buffer.from(bytes)
  for (let n = random.below(random.chance(0.2) ? 40 : 3); n >= 0; n--) result = random.pick(CHANGES)(result)
  return result
}

const ODD = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 53, 2 ** 63]
const at = (bytes: Buffer) => random.below(bytes.length + 1)

const CHANGES: ((bytes: Buffer) => Buffer)[] = [
  (bytes) => overwrite(bytes, at(bytes), Buffer.of(random.below(256))),
  (bytes) => {
    const place = random.below(Math.max(1, bytes.length))
    return overwrite(bytes, place, Buffer.of((bytes[place] ?? 0) ^ (1 << random.below(8))))
  },
  (bytes) => overwrite(bytes, at(bytes), numbers([random.pick([1, 2, 4, 8]), random.pick(ODD)])),
  (bytes) => overwrite(bytes, random.below(64), numbers([random.pick([2, 4, 8]), random.pick(ODD)])),
  (bytes) => overwrite(bytes, Math.max(0, bytes.length - random.below(100)), numbers([4, random.pick(ODD)])),
  (bytes) => bytes.subarray(0, at(bytes)),
  (bytes) => splice(bytes, at(bytes), random.below(16), Buffer.alloc(0)),
  (bytes) =>
    splice(bytes, at(bytes), 0, Buffer.from(Array.from({ length: random.below(16) }, () => random.below(256)))),
  (bytes) => splice(bytes, at(bytes), 0, piece(bytes)),
  (bytes) => overwrite(bytes, at(bytes), piece(bytes)),
  (bytes) => splice(bytes, at(bytes), 0, piece(random.pick([pickle, zip, header, tokenizer]))),
  (bytes) =>
    splice(bytes, at(bytes), 0, Buffer.alloc(random.below(5000), random.pick([...'(()q[{}":,9 \x80\x85\x86\xff']))),
]

function piece(bytes: Buffer): Buffer {
  const begin = at(bytes)
  return bytes.subarray(begin, begin + random.below(200))
}

function overwrite(bytes: Buffer, place: number, by: Buffer): Buffer {
  return splice(bytes, place, by.length, by)
}

function splice(bytes: Buffer, place: number, removed: number, added: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, place), added, bytes.subarray(place + removed)])
}

/** Numbers, names and types of the header replaced by others. */
function changedJson(text: string): Buffer {
  const tokens = text.split(/(\d+|"[^"]*")/)
  const replacements = [
    '-1',
    '0',
    '1e999',
    '0.5',
    '9007199254740993',
    '"F32"',
    '"BF16"',
    '"I8"',
    '""',
    'null',
    '[]',
    '{}',
    '"__proto__"',
  ]
  for (let n = random.below(3); n >= 0; n--) {
    const place = 2 * random.below((tokens.length - 1) / 2) + 1
    tokens[place] = random.chance(0.5)
      ? random.pick(replacements)
      : tokens[2 * random.below((tokens.length - 1) / 2) + 1]!
  }
  return Buffer.from(tokens.join(''))
}

main()
