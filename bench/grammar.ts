// What it costs a step that its sequences are held to a grammar: the same steps of the embedded model, held and not, in turns.
// `node bench/grammar.ts [--threads N] [--rounds N]`

import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Constraint } from '../contract/internal/generation.ts'
import { loadEngine } from '../gpu-node/run/native/engine.ts'
import { type Grammar, Reading } from '../gpu-node/run/native/grammar/grammar.ts'
import { Grammars } from '../gpu-node/run/native/grammar/grammars.ts'
import { readModelFolder } from '../gpu-node/run/native/load/model-folder.ts'
import { Scheduler } from '../gpu-node/run/native/scheduler.ts'
import { greedy, sequenceOf } from './requests.ts'

const STEPS = 200

const { values: options } = parseArgs({
  options: { threads: { type: 'string', default: '2' }, rounds: { type: 'string', default: '7' } },
})
const model = readModelFolder(join(import.meta.dirname, '../models/ziya-coding-mini'))
const limits = { blocks: 1024, batch_tokens_max: 512, sequences_max: 64, waiting_max: 64 }
const engine = await loadEngine(
  model.shape,
  model.tensors,
  { device: 'cpu', threads: Number(options.threads), ...limits },
  () => {},
)
const grammars = new Grammars(model)
const prompt = [1, ...model.tokenizer.encode('<human>: \nList them.\n<bot>: \n')]
const item = {
  type: 'object',
  properties: { name: { type: 'string' }, kind: { enum: ['a', 'b', null] }, lines: { type: 'integer' } },
  required: ['name', 'kind', 'lines'],
  additionalProperties: false,
}
const constraints: Record<string, Constraint> = {
  'a list of objects': { kind: 'json_schema', schema: { type: 'array', items: item, minItems: 400 } },
  'strings whose characters are counted': {
    kind: 'json_schema',
    schema: { type: 'array', items: { type: 'string', minLength: 300, maxLength: 900 }, minItems: 400 },
  },
  'any text, and calls of a tool': {
    kind: 'tools',
    tools: [{ name: 'find', parameters: item }],
    calls: 'allowed',
    is_parallel: true,
  },
}

for (const [what, constraint] of Object.entries(constraints)) {
  const grammar = await grammars.prepare(constraint)
  for (const sequences of [1, 16]) await report(`${what}, ${sequences} at once`, grammar, sequences)
}
await grammars.close()
await engine.close()

async function report(what: string, grammar: Grammar, sequences: number): Promise<void> {
  const held: number[] = []
  const free: number[] = []
  for (let round = 0; round < Number(options.rounds); round++) {
    free.push(await stepMs(null, sequences, round))
    held.push(await stepMs(grammar, sequences, round))
  }
  const [a, b] = [median(free), median(held)]
  console.log(
    `${what}: ${a.toFixed(2)} ms a step free, ${b.toFixed(2)} held: ${((b / a - 1) * 100).toFixed(1)} % longer`,
  )
}

async function stepMs(grammar: Grammar | null, count: number, round: number): Promise<number> {
  const scheduler = new Scheduler(limits)
  for (let i = 0; i < count; i++) {
    const sampling = { ...greedy, temperature: 1, seed: BigInt(round * 100 + i) }
    const reading = grammar && new Reading({ grammar, at_start: false, stop_ids: new Set() })
    scheduler.submit(sequenceOf({ prompt, output_tokens_max: STEPS, sampling, reading }))
  }
  const started = performance.now()
  let steps = 0
  for (let step = scheduler.schedule(); step; step = scheduler.schedule(), steps++)
    scheduler.apply(step, await engine.step(step.batch))
  return (performance.now() - started) / steps
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
}
