// A folder has exactly the tensors that its architecture wants, each in its shape. Each gets its place in the engine.

import { existsSync } from 'node:fs'
import { basename, join } from 'node:path'
import * as z from 'zod'
import type { SlotTensor } from '../architecture/architecture.ts'
import type { TensorSource } from '../engine.ts'
import { ModelError } from '../model-error.ts'
import type { ModelConfig } from './model-config.ts'
import { type FoundTensor, readSmallFile, withModelFile } from './model-file.ts'
import { readSafetensors } from './safetensors.ts'
import { readTorchFile } from './torch-file.ts'

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) })

// They are looked for in this order. safetensors come first: where a folder has both, they hold the same.
const FORMATS = [
  { whole: 'model.safetensors', read: readSafetensors },
  { whole: 'pytorch_model.bin', read: readTorchFile },
]

type Network = Pick<ModelConfig, 'architecture' | 'shape'>

/** Every tensor the engine needs, from the one file of weights or from the shards that its index names. */
export function findWeights(folder: string, network: Network): TensorSource[] {
  const found = new Map<string, FoundTensor>()
  const { files, read } = weightFiles(folder)
  for (const file of files) {
    for (const tensor of read(join(folder, file))) {
      if (found.has(tensor.name)) {
        throw new ModelError('weights_duplicate_tensor', `${tensor.name} is in two files of ${folder}`)
      }
      found.set(tensor.name, tensor)
    }
  }
  const wanted = network.architecture.tensorsOf(network.shape)
  refuseUnknown(found, wanted, network)
  refuseUntied(found, network)
  return wanted.map((tensor) => placed(found.get(tensor.name), tensor))
}

function weightFiles(folder: string): { files: string[]; read: (path: string) => FoundTensor[] } {
  for (const { whole, read } of FORMATS) {
    if (existsSync(join(folder, whole))) return { files: [whole], read }
    const index = `${whole}.index.json`
    if (existsSync(join(folder, index))) return { files: shardsOf(folder, index), read }
  }
  const names = FORMATS.map(({ whole }) => whole).join(' nor ')
  throw new ModelError('model_file_missing', `${folder} has neither ${names}, nor an index of one`)
}

function shardsOf(folder: string, index: string): string[] {
  const files = [...new Set(Object.values(readIndex(join(folder, index))))].sort()
  for (const file of files) {
    if (basename(file) !== file)
      throw new ModelError('weights_index_invalid', `${index} names ${file}, which is not a file beside it`)
    if (!existsSync(join(folder, file)))
      throw new ModelError('model_file_missing', `${folder} has no ${file}, which ${index} names`)
  }
  return files
}

function readIndex(path: string): Record<string, string> {
  const text = readSmallFile(path).toString('utf8')
  try {
    return indexSchema.parse(JSON.parse(text)).weight_map
  } catch {
    throw new ModelError('weights_index_invalid', `${path} is not an index of weights`)
  }
}

function refuseUnknown(found: Map<string, FoundTensor>, wanted: SlotTensor[], { architecture, shape }: Network): void {
  const names = new Set(wanted.map(({ name }) => name))
  for (const name of found.keys()) {
    if (names.has(name) || architecture.isHarmless(name, shape)) continue
    const hint = /lora/i.test(name) ? ': merge the adapter into the model first' : ''
    throw new ModelError(
      'weights_unknown_tensor',
      `${name} is not a tensor of a ${architecture.title} of this shape${hint}`,
    )
  }
}

const COMPARED_BYTES = 1 << 20

// Loaders differ in which of the two they take where a config ties what the files do not.
function refuseUntied(found: Map<string, FoundTensor>, { architecture: { tied }, shape }: Network): void {
  const [embedding, head] = tied.map((name) => found.get(name))
  if (!shape.tied_embeddings || !embedding || !head || haveSameBytes(embedding, head)) return
  throw new ModelError(
    'weights_contradict_config',
    `config.json: tie_word_embeddings is true, but ${head.name} is not ${embedding.name}; set it to false if it was trained`,
  )
}

function haveSameBytes(a: FoundTensor, b: FoundTensor): boolean {
  if (a.dtype !== b.dtype || a.bytes !== b.bytes) return false
  if (a.path === b.path && a.offset === b.offset) return true
  return withModelFile(a.path, (one) =>
    withModelFile(b.path, (other) => {
      for (let at = 0; at < a.bytes; at += COMPARED_BYTES) {
        const length = Math.min(COMPARED_BYTES, a.bytes - at)
        if (!one.read(a.offset + at, length).equals(other.read(b.offset + at, length))) return false
      }
      return true
    }),
  )
}

function placed(tensor: FoundTensor | undefined, { name, shape, slot, first_row }: SlotTensor): TensorSource {
  if (!tensor) throw new ModelError('weights_missing_tensor', `the weights lack ${name}`)
  const { unusable, ...source } = tensor
  if (unusable) throw unusable
  if (tensor.shape.join() !== shape.join()) {
    throw new ModelError('weights_shape', `${name} is [${tensor.shape}], not [${shape}]`)
  }
  return { ...source, slot, first_row }
}
