// Writes pytorch_model.bin files as torch.save does, and every way they can be wrong, for tests.

import { crc32 } from 'node:zlib'

// ── zip

interface Fields {
  flags: number
  method: number
  crc: number
  packed: number
  size: number
  header: number
  name: string
  extra: Buffer
}

export interface Entry {
  name: string
  data: Buffer
  local?: Partial<Fields> // what the local header says instead
  central?: Partial<Fields> // what the directory says instead
}

export interface ZipOptions {
  zip64?: boolean // 64-bit fields though none is needed
  sizes_follow?: boolean // as torch writes them
  end?: { count?: number; bytes?: number; offset?: number; comment?: string }
  end64?: { count?: number; bytes?: number; offset?: number; at?: number }
}

/** A zip file of stored entries. */
export function zipBytes(entries: Entry[], options: ZipOptions = {}): Buffer {
  const { zip64 = false, sizes_follow = true } = options
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let at = 0
  const add = (bytes: Buffer) => {
    parts.push(bytes)
    at += bytes.length
  }
  for (const { name, data, local, central } of entries) {
    const crc = crc32(data)
    const size = data.length
    const flags = 0x800 | (sizes_follow && size > 0 ? 8 : 0)
    const fields: Fields = { flags, method: 0, crc, packed: size, size, header: at, name, extra: Buffer.alloc(0) }
    const hidden = flags & 8 ? { crc: 0, packed: 0, size: 0 } : {}
    const wide = zip64
      ? { packed: 0xffffffff, size: 0xffffffff, header: 0xffffffff, extra: wideExtra([size, size, at]) }
      : {}
    directory.push(centralHeader({ ...fields, ...wide, ...central }))
    add(localHeader({ ...fields, ...hidden, extra: padding(at + 30 + Buffer.byteLength(name)), ...local }))
    add(data)
    if (flags & 8) add(numbers([4, 0x08074b50], [4, crc], [4, size], [4, size]))
  }
  const all = Buffer.concat(directory)
  const facts = { count: entries.length, bytes: all.length, offset: at }
  return Buffer.concat([
    ...parts,
    all,
    ...(zip64 ? [end64(facts, at + all.length, options.end64)] : []),
    endRecord(facts, zip64, options.end),
  ])
}

// torch aligns the bytes of an entry to 64.
function padding(header_end: number): Buffer {
  const length = (64 - ((header_end + 4) % 64)) % 64
  return Buffer.concat([Buffer.from('FB'), numbers([2, length]), Buffer.alloc(length, 'Z')])
}

function localHeader(f: Fields): Buffer {
  const name = Buffer.from(f.name)
  const lengths = numbers([2, name.length], [2, f.extra.length])
  return Buffer.concat([numbers([4, 0x04034b50], [2, 0]), factsOf(f), lengths, name, f.extra])
}

function centralHeader(f: Fields): Buffer {
  const name = Buffer.from(f.name)
  const lengths = numbers([2, name.length], [2, f.extra.length], [2, 0], [2, 0], [2, 0], [4, 0], [4, f.header])
  return Buffer.concat([numbers([4, 0x02014b50], [2, 0], [2, 0]), factsOf(f), lengths, name, f.extra])
}

// What both headers say of an entry.
function factsOf(f: Fields): Buffer {
  return numbers([2, f.flags], [2, f.method], [4, 0], [4, f.crc], [4, f.packed], [4, f.size])
}

export function wideExtra(values: number[]): Buffer {
  return Buffer.concat([numbers([2, 1], [2, 8 * values.length]), ...values.map((value) => numbers([8, value]))])
}

interface Facts {
  count: number
  bytes: number
  offset: number
}

function end64(facts: Facts, at: number, changes: ZipOptions['end64']): Buffer {
  const { count, bytes, offset } = { ...facts, ...changes }
  const record = numbers(
    [4, 0x06064b50],
    [8, 44],
    [2, 0],
    [2, 0],
    [4, 0],
    [4, 0],
    [8, count],
    [8, count],
    [8, bytes],
    [8, offset],
  )
  return Buffer.concat([record, numbers([4, 0x07064b50], [4, 0], [8, changes?.at ?? at], [4, 1])])
}

function endRecord(facts: Facts, zip64: boolean, changes: ZipOptions['end']): Buffer {
  const wide = zip64 ? { count: 0xffff, bytes: 0xffffffff, offset: 0xffffffff } : {}
  const { count, bytes, offset, comment = '' } = { comment: '', ...facts, ...wide, ...changes }
  const fixed = numbers([4, 0x06054b50], [4, 0], [2, count], [2, count], [4, bytes], [4, offset], [2, comment.length])
  return Buffer.concat([fixed, Buffer.from(comment)])
}

/** Little-endian numbers of so many bytes each. */
export function numbers(...fields: [bytes: number, value: number][]): Buffer {
  return Buffer.concat(
    fields.map(([length, value]) => {
      const bytes = Buffer.alloc(8)
      bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)))
      return bytes.subarray(0, length)
    }),
  )
}

// ── pickle: each of these is what Python's pickler writes for it

export const op = {
  proto: (version = 2) => Buffer.from([0x80, version]),
  stop: Buffer.from('.'),
  mark: Buffer.from('('),
  global: (module: string, name: string) => Buffer.from(`c${module}\n${name}\n`),
  text: (text: string | Buffer) =>
    Buffer.concat([Buffer.from('X'), numbers([4, Buffer.byteLength(text)]), Buffer.from(text as string)]),
  int: (value: number) =>
    value < 256 ? Buffer.from([0x4b, value]) : value < 2 ** 31 ? numbers([1, 0x4a], [4, value]) : op.long(value),
  long: (value: number, bytes = 8) => numbers([1, 0x8a], [1, bytes], [bytes, value]),
  tuple: (...items: Buffer[]) => Buffer.concat([op.mark, ...items, Buffer.from('t')]),
  reduce: Buffer.from('R'),
  persistent: Buffer.from('Q'),
  dictionary: Buffer.from('}'),
  set_items: Buffer.from('u'),
  put: (index: number) => (index < 256 ? Buffer.from([0x71, index]) : numbers([1, 0x72], [4, index])),
  get: (index: number) => (index < 256 ? Buffer.from([0x68, index]) : numbers([1, 0x6a], [4, index])),
  call: (module: string, name: string, ...args: Buffer[]) =>
    Buffer.concat([op.global(module, name), op.tuple(...args), op.reduce]),
}

export const pickleOf = (...body: Buffer[]) => Buffer.concat([op.proto(), ...body, op.stop])

export interface TorchTensor {
  dtype: 'F16' | 'BF16' | 'F32'
  shape: number[]
  data: Buffer // of its storage
  key?: string // of its storage; tensors may share one
  type?: string // of its storage
  first?: number // its first value in there
  strides?: number[]
  values?: number // that its storage is said to have
}

const STORAGE = { F16: 'HalfStorage', BF16: 'BFloat16Storage', F32: 'FloatStorage' }

export function tensorPickle(tensor: TorchTensor, key: string): Buffer {
  const { dtype, shape, data } = tensor
  const values = tensor.values ?? data.length / (dtype === 'F32' ? 4 : 2)
  const storage_type = op.global('torch', tensor.type ?? STORAGE[dtype])
  const storage = op.tuple(op.text('storage'), storage_type, op.text(tensor.key ?? key), op.text('cpu'), op.int(values))
  const strides = tensor.strides ?? shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1))
  const args = [
    Buffer.concat([storage, op.persistent]),
    op.int(tensor.first ?? 0),
    op.tuple(...shape.map(op.int)),
    op.tuple(...strides.map(op.int)),
    Buffer.from([0x89]),
    Buffer.concat([op.global('collections', 'OrderedDict'), Buffer.from(')'), op.reduce]),
  ]
  return op.call('torch._utils', '_rebuild_tensor_v2', ...args)
}

export function stateDictPickle(tensors: Record<string, TorchTensor>): Buffer {
  const items = Object.entries(tensors).flatMap(([name, tensor], i) => [op.text(name), tensorPickle(tensor, String(i))])
  return pickleOf(op.dictionary, op.mark, ...items, op.set_items)
}

/** The entries of a state dict; a test may change them before they are zipped. */
export function torchEntries(tensors: Record<string, TorchTensor>, pickle = stateDictPickle(tensors)): Entry[] {
  const storages = new Map(Object.values(tensors).map(({ key, data }, i) => [key ?? String(i), data]))
  return [
    { name: 'model/data.pkl', data: pickle },
    { name: 'model/byteorder', data: Buffer.from('little') },
    ...[...storages].map(([key, data]) => ({ name: `model/data/${key}`, data })),
    { name: 'model/version', data: Buffer.from('3\n') },
  ]
}

export function torchFile(tensors: Record<string, TorchTensor>, options: ZipOptions = {}): Buffer {
  return zipBytes(torchEntries(tensors), options)
}

/** Zeros in fp16, by name and shape. */
export function zeroTensors(shapes: Record<string, number[]>): Record<string, TorchTensor> {
  const zeros = (shape: number[]) => Buffer.alloc(2 * shape.reduce((product, length) => product * length, 1))
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [name, { dtype: 'F16', shape, data: zeros(shape) }]),
  )
}
