// The header of a safetensors file: where each tensor lies. Nothing in it is trusted: sizes, ranges and gaps are checked
// here, before a byte of weights is read. Format: u64 header length, JSON, data (github.com/huggingface/safetensors).

import * as z from 'zod'
import type { FileTensor } from '../engine.ts'
import { repeatedKey } from '../json-keys.ts'
import { ModelError } from '../model-error.ts'
import { type FoundTensor, type ModelFile, withModelFile } from './model-file.ts'

const HEADER_BYTES_MAX = 16 << 20
const DTYPE_BYTES = new Map([
  ['F16', 2],
  ['BF16', 2],
  ['F32', 4],
])

const offset = z.int().nonnegative()
const tensorSchema = z.object({
  dtype: z.string(),
  shape: z.array(offset).max(8),
  data_offsets: z.tuple([offset, offset]),
})

/** The tensors of one file, in the order of their bytes. */
export function readSafetensors(path: string): FoundTensor[] {
  return withModelFile(path, (file) => {
    const { header, data_start } = readHeader(file)
    const tensors = Object.keys(header)
      .filter((name) => name !== '__metadata__')
      .map((name) => tensorSource(path, name, header[name], data_start))
      .sort((a, b) => a.offset - b.offset)
    checkLayout(path, tensors, data_start, file.bytes - data_start)
    return tensors
  })
}

function readHeader(file: ModelFile): { header: Record<string, unknown>; data_start: number } {
  if (file.bytes < 8) throw new ModelError('weights_truncated', `${file.path} has ${file.bytes} bytes`)
  const header_bytes = Number(file.read(0, 8).readBigUInt64LE())
  if (header_bytes > HEADER_BYTES_MAX)
    throw new ModelError('weights_header_too_large', `${file.path} has a header of ${header_bytes} bytes`)
  const data_start = 8 + header_bytes
  if (data_start > file.bytes) throw new ModelError('weights_truncated', `${file.path} ends inside its header`)
  return { header: parseHeader(file.path, file.read(8, header_bytes)), data_start }
}

function parseHeader(path: string, bytes: Buffer): Record<string, unknown> {
  const { text, header } = parseJson(path, bytes)
  const repeated = repeatedKey(text) // of two entries JSON.parse would keep one, and other readers the other
  if (repeated !== null) throw new ModelError('weights_duplicate_tensor', `${path}: the header has ${repeated} twice`)
  return header
}

function parseJson(path: string, bytes: Buffer): { text: string; header: Record<string, unknown> } {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    const header: unknown = JSON.parse(text)
    if (typeof header === 'object' && header !== null && !Array.isArray(header))
      return { text, header: header as Record<string, unknown> }
  } catch {
    // not UTF-8, or not JSON
  }
  throw new ModelError('weights_header_invalid', `${path}: the header is not a JSON object`)
}

function tensorSource(path: string, name: string, entry: unknown, data_start: number): FoundTensor {
  const parsed = tensorSchema.safeParse(entry)
  if (!parsed.success) throw new ModelError('weights_header_invalid', `${path}: the entry of ${name} is broken`)
  const { dtype, shape, data_offsets } = parsed.data
  const value_bytes = DTYPE_BYTES.get(dtype)
  const bytes = data_offsets[1] - data_offsets[0]
  const expected_bytes = shape.reduce((product, length) => product * length, value_bytes ?? 1)
  const unusable =
    value_bytes === undefined
      ? new ModelError('weights_dtype', `${path}: ${name} is ${dtype}, not F16, BF16 or F32`)
      : undefined
  if (bytes < 0 || (!unusable && bytes !== expected_bytes))
    throw new ModelError('weights_size_mismatch', `${path}: ${name} [${shape}] of ${dtype} is given ${bytes} bytes`)
  return {
    name,
    path,
    dtype: dtype as FileTensor['dtype'],
    offset: data_start + data_offsets[0],
    bytes,
    shape,
    unusable,
  }
}

// The format has neither gaps nor overlaps: tensors follow one another to the end of the file.
function checkLayout(path: string, tensors: FileTensor[], data_start: number, data_bytes: number): void {
  const last = tensors.at(-1)
  const described = last ? last.offset + last.bytes - data_start : 0
  if (described > data_bytes) {
    throw new ModelError(
      'weights_out_of_range',
      `${path}: ${last!.name} ends at byte ${described} of ${data_bytes}; is the file cut short?`,
    )
  }
  let end = data_start
  for (const { name, offset: start, bytes } of tensors) {
    if (start < end) throw new ModelError('weights_overlap', `${path}: ${name} overlaps the tensor before it`)
    if (start > end) throw new ModelError('weights_hole', `${path}: nothing describes the bytes before ${name}`)
    end = start + bytes
  }
  if (described < data_bytes) throw new ModelError('weights_hole', `${path}: nothing describes its last bytes`)
}
