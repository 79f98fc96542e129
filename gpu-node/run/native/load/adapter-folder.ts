// A LoRA adapter's folder, as PEFT publishes it, for a model that is loaded: which tensors are which parts of which matrix.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { SlotTensor } from '../architecture/architecture.ts'
import type { AdapterSource, TensorSource } from '../engine.ts'
import { ModelError } from '../model-error.ts'
import { type AdaptedModule, adapterConfig } from './adapter-config.ts'
import type { ModelConfig } from './model-config.ts'
import { type FoundTensor, readJson } from './model-file.ts'
import { readSafetensors } from './safetensors.ts'
import { readTorchFile } from './torch-file.ts'

type Network = Pick<ModelConfig, 'architecture' | 'shape'>

/** Throws a ModelError where it is none, or of another model, or would compute what is not computed here. */
export function readAdapterFolder(folder: string, network: Network): AdapterSource {
  try {
    return adapterIn(folder, network)
  } catch (error) {
    throw error instanceof ModelError ? new ModelError(error.code, `${folder}: ${error.message}`) : error
  }
}

function adapterIn(folder: string, { architecture, shape }: Network): AdapterSource {
  if (architecture.judgedText)
    throw new ModelError('adapter_unsupported', 'a model that judges answers takes no adapter')
  const tensors = architecture.tensorsOf(shape).filter(({ name }) => name.endsWith('.weight'))
  const matrices = new Map(tensors.filter(isLayerMatrix).map((tensor) => [moduleOf(tensor), tensor]))
  const others = [...tensors.map(moduleOf), 'lm_head'].filter((name) => !matrices.has(name))
  const json = readJson(folder, 'adapter_config.json', 'adapter_config_invalid')
  const modules = adapterConfig(json, { matrices: [...matrices.keys()], others })
  const found = findTensors(folder)
  const parts = modules.map((module) => partOf(module, matrices.get(module.name)!, found))
  for (const name of found.keys())
    throw new ModelError('weights_unknown_tensor', `${name} is of no module that adapter_config.json names`)
  return { parts: parts.map(({ part }) => part), tensors: parts.flatMap(({ tensors }) => tensors) }
}

function isLayerMatrix({ slot, shape }: SlotTensor): boolean {
  return slot.startsWith('layer.') && shape.length === 2
}

function moduleOf({ name }: SlotTensor): string {
  return name.slice(0, -'.weight'.length)
}

const PREFIX = 'base_model.model.'

/** Its tensors by their names, without what PEFT puts before all of them. */
function findTensors(folder: string): Map<string, FoundTensor> {
  const safe = join(folder, 'adapter_model.safetensors')
  const torch = join(folder, 'adapter_model.bin')
  if (!existsSync(safe) && !existsSync(torch))
    throw new ModelError('model_file_missing', 'it has neither adapter_model.safetensors nor adapter_model.bin')
  const tensors = existsSync(safe) ? readSafetensors(safe) : readTorchFile(torch)
  return new Map(
    tensors.map((tensor) => [tensor.name.startsWith(PREFIX) ? tensor.name.slice(PREFIX.length) : tensor.name, tensor]),
  )
}

/** Takes what it uses out of what was found. */
function partOf(
  { name, rank, scale }: AdaptedModule,
  { slot, first_row, shape }: SlotTensor,
  found: Map<string, FoundTensor>,
) {
  const [outputs, inputs] = shape as [number, number]
  const take = (which: 'A' | 'B', size: number[]): TensorSource => {
    const key = `${name}.lora_${which}.weight`
    const tensor = found.get(key)
    found.delete(key)
    if (!tensor) throw new ModelError('weights_missing_tensor', `the adapter lacks ${key}`)
    const { unusable, ...source } = tensor
    if (unusable) throw unusable
    if (tensor.shape.join() !== size.join())
      throw new ModelError('weights_shape', `${key} is [${tensor.shape}], not [${size}]`)
    return { ...source, slot: `${slot}.${first_row}.${which.toLowerCase()}`, first_row: 0 }
  }
  return {
    part: { slot, first_output: first_row, outputs, rank, scale },
    tensors: [take('A', [rank, inputs]), take('B', [outputs, rank])],
  }
}
