// The folders of LoRA adapters whose weights are those of test/vectors/make_lora_vectors.py, remade.

import { encode, tensorValues } from './random-weights.ts'
import { folderWith, safetensorsFile } from './safetensors.ts'
import { type TorchTensor, torchFile } from './torch-file.ts'

export interface RandomAdapter {
  name: string // seeds the weights, behind the network's
  format: 'safetensors' | 'bin'
  dtype: TorchTensor['dtype']
  config: Record<string, unknown>
  tensors: Record<string, number[]>
}

export function adapterFolder(network: string, { name, format, dtype, config, tensors }: RandomAdapter): string {
  const written = Object.entries(tensors).map(([tensor, shape]): [string, TorchTensor] => [
    tensor,
    { dtype, shape, data: encode(tensorValues(`${network}:${name}:${tensor}`, shape), dtype) },
  ])
  const write = format === 'bin' ? torchFile : safetensorsFile
  return folderWith({
    'adapter_config.json': JSON.stringify(config),
    [`adapter_model.${format}`]: write(Object.fromEntries(written)),
  })
}
