// What prompt lookup saves: steps and time, with it and without, one sequence at a time, in turns. The engine is the real one
// over the embedded model. In edits and in writing, what it draws is replaced by the text that the task wants, at the real
// cost of every step; in the model's own tasks it answers for itself. `node bench/speculation.ts [--threads N] [--files N]`
// The files are those of this machine's Python library, or this repository's where there is none.

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Engine, loadEngine } from '../gpu-node/run/native/engine.ts'
import { readModelFolder } from '../gpu-node/run/native/load/model-folder.ts'
import { Scheduler } from '../gpu-node/run/native/scheduler.ts'
import { StepCostEstimate } from '../gpu-node/run/native/step-cost.ts'
import { lineTask, pythonFiles, renameTask, type Task, TeachingEngine, writeTask } from './edit-task.ts'
import { greedy, sequenceOf } from './requests.ts'

const ROUNDS = 5
const LENGTH_MAX = 900 // characters of a file: prompt and answer together fit the embedded model's context

const { values: options } = parseArgs({
  options: { threads: { type: 'string', default: '2' }, files: { type: 'string', default: '12' } },
})
const model_dir = join(import.meta.dirname, '../models/ziya-coding-mini')
const model = readModelFolder(model_dir)
const limits = { blocks: 1024, batch_tokens_max: 512, sequences_max: 64, waiting_max: 64 }
const engine = await loadEngine(
  model.shape,
  model.tensors,
  { device: 'cpu', threads: Number(options.threads), ...limits },
  () => {},
)
const costs = { off: new StepCostEstimate(), 'prompt-lookup': new StepCostEstimate() }

interface Run {
  prompt: number[]
  answer: number[] | null // null: the model's own
  temperature: number
}

const files = pickFiles(Number(options.files))
const own = readFileSync(join(model_dir, 'held-out.jsonl'), 'utf8')
  .split('\n')
  .slice(0, 3 * files.length)
const ownPrompt = (line: string) => model.tokenizer.encode(`<human>: \n${JSON.parse(line).prompt}\n<bot>: \n`)
await report('a name changed', files.map(renameTask).map(taught))
await report('lines changed', files.map(lineTask).map(taught))
await report('written anew', files.map(writeTask).map(taught))
for (const temperature of [0, 1]) {
  const runs = own.map((line) => ({ prompt: [1, ...ownPrompt(line)], answer: null, temperature }))
  await report(`the model's own tasks, temperature ${temperature}`, runs)
}
await engine.close()

function pickFiles(count: number): string[] {
  const asked = spawnSync('python3', ['-c', 'import sysconfig; print(sysconfig.get_path("stdlib"))'], {
    encoding: 'utf8',
  })
  const folders = asked.status === 0 ? [asked.stdout.trim()] : []
  for (const folder of [...folders, join(model_dir, 'train')]) {
    const all = pythonFiles(folder, LENGTH_MAX).filter((text) => /\bdef |\bclass |\bimport /.test(text))
    const every = Math.floor(all.length / count)
    if (every >= 1) return Array.from({ length: count }, (_, i) => all[i * every]!)
  }
  throw new Error(`no ${count} Python files were found`)
}

function taught({ prompt, answer }: Task): Run {
  return { prompt: [1, ...model.tokenizer.encode(prompt)], answer: model.tokenizer.encode(answer), temperature: 0 }
}

async function report(name: string, runs: Run[]): Promise<void> {
  const fitting = runs.filter(
    ({ prompt, answer }) => prompt.length + (answer?.length ?? 256) < model.shape.context_tokens,
  )
  const ratios: number[] = []
  let steps = { off: 0, on: 0 }
  for (let round = 0; round <= ROUNDS; round++) {
    const spent = { off: 0, on: 0 }
    steps = { off: 0, on: 0 }
    for (const run of fitting) {
      const [off, on] = [await play(run, 'off'), await play(run, 'prompt-lookup')]
      if (String(off.tokens) !== String(on.tokens)) throw new Error(`${name}: speculation changed a text`)
      spent.off += off.ms
      spent.on += on.ms
      steps = { off: steps.off + off.steps, on: steps.on + on.steps }
    }
    if (round > 0) ratios.push(spent.off / spent.on) // the first one warms up
  }
  ratios.sort((a, b) => a - b)
  const time = ratios.map((ratio) => ratio.toFixed(2))
  console.log(
    `${name}: ${fitting.length} texts, ${(steps.off / steps.on).toFixed(2)} x fewer steps, ` +
      `${time[ROUNDS >> 1]} x as fast (${time[0]} to ${time.at(-1)})`,
  )
}

async function play({ prompt, answer, temperature }: Run, speculation: 'off' | 'prompt-lookup') {
  const teacher = new TeachingEngine(engine)
  const engine_used: Engine = answer ? teacher : engine
  teacher.answer = answer ?? []
  const sequence = sequenceOf({
    prompt,
    output_tokens_max: answer?.length ?? 256,
    stop_ids: answer ? new Set<number>() : model.eos_ids,
    sampling: { ...greedy, temperature, top_p: 0.85, seed: 1n },
  })
  const scheduler = new Scheduler({ ...limits, speculation })
  scheduler.submit(sequence)
  const cost = costs[speculation]
  const begun = performance.now()
  let steps = 0
  for (let step = scheduler.schedule(cost.cost); step; step = scheduler.schedule(cost.cost)) {
    const step_begun = performance.now()
    const result = await engine_used.step(step.batch)
    cost.observe(step.batch.tokens.length, performance.now() - step_begun)
    scheduler.apply(step, result)
    steps++
  }
  return { steps, ms: performance.now() - begun, tokens: sequence.tokens.slice(sequence.prompt_tokens) }
}
