// Writes GGUF, version 3: magic, counts, metadata, the tensors' names and places, then their bytes, each at a multiple of 32.
// Its specification: ggml-org/ggml, docs/gguf.md.

const ALIGNMENT = 32
export const TYPE_F32 = 0
export const TYPE_F16 = 1

export type GgufValue = string | string[] | { u32: number } | { f32: number } | { f32s: number[] } | { i32s: number[] }

export interface GgufTensor {
  name: string
  shape: readonly number[] // slowest first, as everywhere else; GGUF writes it the other way round
  type: typeof TYPE_F32 | typeof TYPE_F16
}

/** All that comes before the tensors' bytes. */
export function ggufHeader(metadata: Record<string, GgufValue>, tensors: readonly GgufTensor[]): Buffer {
  let offset = 0
  const places = tensors.map(({ name, shape, type }) => {
    const at = offset
    offset += aligned(shape.reduce((product, length) => product * length, type === TYPE_F16 ? 2 : 4))
    const sizes = shape.toReversed().map((length) => u64(length))
    return Buffer.concat([string(name), u32(shape.length), ...sizes, u32(type), u64(at)])
  })
  const entries = Object.entries(metadata).map(([key, value]) => Buffer.concat([string(key), typed(value)]))
  const counts = [u64(tensors.length), u64(entries.length)]
  return padded(Buffer.concat([Buffer.from('GGUF'), u32(3), ...counts, ...entries, ...places]))
}

export function ggufTensorBytes({ buffer, byteOffset, byteLength }: Uint16Array | Float32Array): Buffer {
  return padded(Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength))
}

const aligned = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT

function padded(bytes: Buffer): Buffer {
  const missing = aligned(bytes.length) - bytes.length
  return missing === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(missing)])
}

function typed(value: GgufValue): Buffer {
  if (typeof value === 'string') return Buffer.concat([u32(8), string(value)])
  if (Array.isArray(value)) return array(8, value, string)
  if ('u32' in value) return Buffer.concat([u32(4), u32(value.u32)])
  if ('f32' in value) return Buffer.concat([u32(6), f32(value.f32)])
  if ('f32s' in value) return array(6, value.f32s, f32)
  return array(5, value.i32s, u32)
}

function array<T>(type: number, values: readonly T[], write: (value: T) => Buffer): Buffer {
  return Buffer.concat([u32(9), u32(type), u64(values.length), ...values.map(write)])
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat([u64(bytes.length), bytes])
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeFloatLE(value)
  return bytes
}
