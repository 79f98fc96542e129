import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readModelFolder } from '../../../../../gpu-node/run/native/load/model-folder.ts'
import { readTorchFile } from '../../../../../gpu-node/run/native/load/torch-file.ts'
import { folderWith, modelFolder, tinyConfig, tinyTensors } from '../../../../support/safetensors.ts'
import {
  op,
  pickleOf,
  type TorchTensor,
  tensorPickle,
  torchEntries,
  torchFile,
  zeroTensors,
  zipBytes,
} from '../../../../support/torch-file.ts'

const vectors = join(import.meta.dirname, '../../../../vectors/torch-state-dict')
const fileOf = (bytes: Buffer) => join(folderWith({ 'pytorch_model.bin': bytes }), 'pytorch_model.bin')

test('a state_dict that torch itself saved gives every tensor its own bytes', () => {
  const { tensors } = JSON.parse(readFileSync(`${vectors}.json`, 'utf8')) as {
    tensors: Record<string, { dtype: string; shape: number[]; bytes: string }>
  }
  const file = readFileSync(`${vectors}.bin`)
  const read = readTorchFile(`${vectors}.bin`).map(({ name, dtype, shape, offset, bytes }) => [
    name,
    { dtype, shape, bytes: file.toString('hex', offset, offset + bytes) },
  ])
  expect(Object.fromEntries(read)).toEqual(tensors)
})

const two: Record<string, TorchTensor> = {
  a: { dtype: 'F32', shape: [2, 3], data: Buffer.alloc(24, 1) },
  b: { dtype: 'F16', shape: [2], data: Buffer.alloc(4, 2) },
}

test.each([
  ['sizes that follow the bytes', {}],
  ['sizes before the bytes', { sizes_follow: false }],
  ['64-bit fields', { zip64: true }],
])('a zip file with %s is read', (_, options) => {
  const bytes = torchFile(two, options)
  const tensors = readTorchFile(fileOf(bytes))
  expect(tensors.map(({ offset, bytes: length }) => bytes.subarray(offset, offset + length))).toEqual([
    two.a!.data,
    two.b!.data,
  ])
  expect(tensors).toMatchObject([
    { name: 'a', dtype: 'F32', shape: [2, 3] },
    { name: 'b', dtype: 'F16', shape: [2] },
  ])
})

test('tensors may share a storage, each from its own value on', () => {
  const data = Buffer.from(Array.from({ length: 24 }, (_, i) => i))
  const shared = { dtype: 'F16' as const, data, key: 's' }
  const bytes = torchFile({ all: { ...shared, shape: [3, 4] }, last: { ...shared, shape: [4], first: 8 } })
  const [all, last] = readTorchFile(fileOf(bytes))
  expect(last!.offset).toBe(all!.offset + 16)
  expect(bytes.subarray(last!.offset, last!.offset + last!.bytes)).toEqual(data.subarray(16))
})

test('the keys of a dictionary may be set one by one, and memoized', () => {
  const one = Buffer.concat([op.text('a'), op.put(300), tensorPickle(two.a!, '0'), op.put(7), Buffer.from('s')])
  const pickle = pickleOf(op.dictionary, op.put(0), one, op.text('b'), op.get(7), Buffer.from('s'))
  const tensors = readTorchFile(fileOf(zipBytes(torchEntries({ a: two.a! }, pickle))))
  expect(tensors.map(({ name }) => name)).toEqual(['a', 'b'])
  expect(tensors[1]!.offset).toBe(tensors[0]!.offset)
})

const without = (part: RegExp) => Object.fromEntries(Object.entries(tinyTensors).filter(([name]) => !part.test(name)))
const names = (changes: Parameters<typeof modelFolder>[0]) =>
  readModelFolder(modelFolder({ 'model.safetensors': null, ...changes })).tensors.map(({ name }) => name)

test('a folder with pytorch_model.bin is read', () => {
  expect(names({ 'pytorch_model.bin': torchFile(zeroTensors(tinyTensors)) })).toEqual(Object.keys(tinyTensors))
})

test('shards of it are read through their index', () => {
  const weight_map = { x: 'pytorch_model-1.bin', y: 'pytorch_model-2.bin' }
  const files = {
    'pytorch_model-1.bin': torchFile(zeroTensors(without(/layers/))),
    'pytorch_model-2.bin': torchFile(zeroTensors(without(/^(?!.*layers)/))),
    'pytorch_model.bin.index.json': JSON.stringify({ weight_map }),
  }
  expect(names(files)).toEqual(Object.keys(tinyTensors))
})

test('safetensors go before it', () => {
  const { tensors } = readModelFolder(modelFolder({ 'pytorch_model.bin': Buffer.from('anything') }))
  expect(tensors[0]!.path).toMatch(/model\.safetensors$/)
})

test('tied embeddings that share a storage are read once', () => {
  const tensors = zeroTensors(tinyTensors)
  tensors['lm_head.weight']!.key = tensors['model.embed_tokens.weight']!.key = 'shared'
  const config = JSON.stringify({ ...tinyConfig, tie_word_embeddings: true })
  expect(names({ 'config.json': config, 'pytorch_model.bin': torchFile(tensors) })).not.toContain('lm_head.weight')
})

test('a pickle that would run a command is refused by the name of what it calls', () => {
  const pickle = pickleOf(op.call('os', 'system', op.text('touch executed')))
  const path = fileOf(zipBytes(torchEntries({}, pickle)))
  expect(() => readTorchFile(path)).toThrow(
    expect.objectContaining({ code: 'weights_pickle_forbidden', message: expect.stringContaining('"os.system"') }),
  )
})

test('the format of torch before 1.6 is refused with the way to convert it', () => {
  const magic = Buffer.from('80028a0a6cfc9c46f9206aa850192e', 'hex')
  expect(() => readTorchFile(fileOf(magic))).toThrow(
    expect.objectContaining({
      code: 'weights_legacy_torch',
      message: expect.stringContaining('torch.save(torch.load('),
    }),
  )
})
