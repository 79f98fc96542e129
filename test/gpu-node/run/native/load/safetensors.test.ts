import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readSafetensors } from '../../../../../gpu-node/run/native/load/safetensors.ts'
import { folderWith, safetensorsBytes } from '../../../../support/safetensors.ts'

const entry = (start: number, end: number, more = {}) => ({
  dtype: 'F16',
  shape: [(end - start) / 2],
  data_offsets: [start, end],
  ...more,
})

function read(bytes: Buffer) {
  return readSafetensors(join(folderWith({ 'model.safetensors': bytes }), 'model.safetensors'))
}

test('tensors are found where they lie, whatever their order in the header', () => {
  const header = { b: entry(8, 12), __metadata__: { format: 'pt' }, a: entry(0, 8) }
  const data_start = 8 + JSON.stringify(header).length
  expect(read(safetensorsBytes(header, 12))).toMatchObject([
    { name: 'a', dtype: 'F16', shape: [4], offset: data_start, bytes: 8 },
    { name: 'b', offset: data_start + 8, bytes: 4 },
  ])
})

const huge = Buffer.alloc(16)
huge.writeBigUInt64LE((16n << 20n) + 1n)
const whole = safetensorsBytes({ a: entry(0, 8) }, 8)

test.each([
  ['an empty file', Buffer.alloc(0), 'weights_truncated'],
  ['a file that ends inside its header', whole.subarray(0, 20), 'weights_truncated'],
  ['a file that ends inside its data', whole.subarray(0, -1), 'weights_out_of_range'],
  ['a header over 16 MB', huge, 'weights_header_too_large'],
  ['a header that is not JSON', safetensorsBytes('{"a":', 0), 'weights_header_invalid'],
  ['a header that is a list', safetensorsBytes('[]', 0), 'weights_header_invalid'],
  ['a negative offset', safetensorsBytes({ a: entry(0, 8, { data_offsets: [-8, 0] }) }, 8), 'weights_header_invalid'],
  ['a fractional shape', safetensorsBytes({ a: entry(0, 8, { shape: [0.5] }) }, 8), 'weights_header_invalid'],
  ['an offset beyond exact integers', safetensorsBytes({ a: entry(0, 2 ** 60) }, 8), 'weights_header_invalid'],
  ['a shape that is not its bytes', safetensorsBytes({ a: entry(0, 8, { shape: [5] }) }, 8), 'weights_size_mismatch'],
  [
    'an end before its start',
    safetensorsBytes({ a: entry(0, 8, { data_offsets: [8, 0] }) }, 8),
    'weights_size_mismatch',
  ],
  ['an end beyond the file', safetensorsBytes({ a: entry(0, 8), b: entry(8, 20) }, 12), 'weights_out_of_range'],
  ['two tensors on the same bytes', safetensorsBytes({ a: entry(0, 8), b: entry(4, 12) }, 12), 'weights_overlap'],
  ['a gap between tensors', safetensorsBytes({ a: entry(0, 4), b: entry(8, 12) }, 12), 'weights_hole'],
  ['bytes after the last tensor', safetensorsBytes({ a: entry(0, 8) }, 9), 'weights_hole'],
  [
    'an end before its start, of what nobody reads',
    safetensorsBytes({ a: entry(0, 8, { dtype: 'I64', data_offsets: [8, 0] }) }, 8),
    'weights_size_mismatch',
  ],
])('%s is refused by name', (_, bytes, code) => {
  expect(() => read(bytes)).toThrow(expect.objectContaining({ name: 'ModelError', code }))
})

test.each(['I8', 'I64', 'BOOL', 'toString'])('a tensor of %s is one that is of no use', (dtype) => {
  const [tensor] = read(safetensorsBytes({ a: entry(0, 8, { dtype }) }, 8))
  expect(tensor?.unusable).toMatchObject({ name: 'ModelError', code: 'weights_dtype' })
})
