// What LoRA adapters cost: eight sequences draw tokens, each by an adapter of its own over all matrices, beside eight that draw by the base
// alone, in turns. Random weights; the same engine, loaded with the adapters.
//   node bench/adapters.ts [--size 120m|1.1b] [--rank 16] [--adapters 8] [--tokens 32] [--threads 2]

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { loadEngine, NO_ADAPTER } from '../gpu-node/run/native/engine.ts'
import { readAdapterFolder } from '../gpu-node/run/native/load/adapter-folder.ts'
import { readModelFolder } from '../gpu-node/run/native/load/model-folder.ts'
import { Scheduler } from '../gpu-node/run/native/scheduler.ts'
import { randomLlama, type Size } from './peers/random-llama.ts'
import { sequenceOf } from './requests.ts'

const SEQUENCES = 8
const ROUNDS = 5
const PROMPT_TOKENS = 32

const { values: options } = parseArgs({
  options: {
    size: { type: 'string', default: '120m' },
    rank: { type: 'string', default: '16' },
    adapters: { type: 'string', default: '8' },
    tokens: { type: 'string', default: '32' },
    threads: { type: 'string', default: '2' },
  },
})
const root = join(import.meta.dirname, '../.local/bench')
const model = readModelFolder(randomLlama(options.size as Size, root))
const adapters = Array.from({ length: Number(options.adapters) }, (_, i) => readAdapterFolder(randomAdapter(i), model))
const limits = { blocks: 512, batch_tokens_max: 512, sequences_max: 64, waiting_max: 64 }
const engine_options = { ...limits, device: 'cpu', threads: Number(options.threads), adapters }
const engine = await loadEngine(model.shape, model.tensors, engine_options, () => {})

const rates: Record<'base' | 'adapters' | 'base, prompts' | 'adapters, prompts', number[]> = {
  base: [],
  adapters: [],
  'base, prompts': [],
  'adapters, prompts': [],
}
for (let round = 0; round <= ROUNDS; round++) {
  for (const kind of ['base', 'adapters'] as const) {
    const { decoded, prefilled } = await tokensPerSecond(kind === 'adapters')
    if (round > 0) rates[kind].push(decoded) // the first round warms up
    if (round > 0) rates[`${kind}, prompts`].push(prefilled)
  }
}
await engine.close()
for (const [kind, values] of Object.entries(rates)) console.log(`${kind}: ${median(values).toFixed(1)} tokens/s`)
const ratio = (of: 'base' | 'base, prompts', to: 'adapters' | 'adapters, prompts') =>
  median(rates[to].map((rate, i) => rate / rates[of][i]!)).toFixed(3)
console.log(
  `of the base's: ${ratio('base', 'adapters')} drawing, ${ratio('base, prompts', 'adapters, prompts')} reading prompts`,
)

/** Of steps that draw a token for each, and of the one before, which reads all prompts. */
async function tokensPerSecond(is_adapted: boolean): Promise<{ decoded: number; prefilled: number }> {
  const scheduler = new Scheduler(limits)
  for (let i = 0; i < SEQUENCES; i++) {
    const prompt = Array.from({ length: PROMPT_TOKENS }, (_, k) => (17 * k + 5 * i) % 1000)
    const adapter = is_adapted ? i % adapters.length : NO_ADAPTER
    scheduler.submit(
      sequenceOf({ prompt, adapter, cache_salt: String(adapter), output_tokens_max: Number(options.tokens) }),
    )
  }
  let seconds = 0
  let tokens = 0
  let prompt_seconds = 0
  for (let step = scheduler.schedule(); step; step = scheduler.schedule()) {
    const result = await engine.step(step.batch)
    if (step.batch.tokens.length > SEQUENCES) prompt_seconds += result.seconds
    else seconds += result.seconds
    if (step.batch.tokens.length <= SEQUENCES) tokens += result.tokens.length
    scheduler.apply(step, result)
  }
  return { decoded: tokens / seconds, prefilled: (SEQUENCES * PROMPT_TOKENS) / prompt_seconds }
}

/** The folder of one over all matrices, of small fp16 numbers. */
function randomAdapter(index: number): string {
  const folder = join(root, `random-adapter-${options.size}-rank${options.rank}-${index}`)
  mkdirSync(folder, { recursive: true })
  const rank = Number(options.rank)
  const config = { peft_type: 'LORA', r: rank, lora_alpha: rank, target_modules: 'all-linear' }
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(config))
  const matrices = model.architecture
    .tensorsOf(model.shape)
    .filter(({ slot, shape }) => slot.startsWith('layer.') && shape.length === 2)
  const tensors = matrices.flatMap(({ name, shape: [outputs, inputs] }) => {
    const module = `base_model.model.${name.slice(0, -'.weight'.length)}`
    return [
      { name: `${module}.lora_A.weight`, shape: [rank, inputs!] },
      { name: `${module}.lora_B.weight`, shape: [outputs!, rank] },
    ]
  })
  writeFileSync(join(folder, 'adapter_model.safetensors'), safetensors(tensors))
  return folder
}

function safetensors(tensors: { name: string; shape: number[] }[]): Buffer {
  let end = 0
  const entries = tensors.map(({ name, shape }) => {
    const begin = end
    end += 2 * shape[0]! * shape[1]!
    return [name, { dtype: 'F16', shape, data_offsets: [begin, end] }]
  })
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  const small = 0x1c00 // 2^-8
  const values = Uint16Array.from({ length: end / 2 }, (_, i) => small + ((i * 2654435761) % 1024) + (i % 2) * 0x8000)
  return Buffer.concat([length, header, Buffer.from(values.buffer)])
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
}
