// Our engine as a contender: the node's own loader, scheduler and addon, without its HTTP.
//   ziya.ts MODEL_FOLDER THREADS SEQUENCES_MAX

import { loadEngine } from '../../gpu-node/run/native/engine.ts'
import { readModelFolder } from '../../gpu-node/run/native/load/model-folder.ts'
import { Scheduler, type SequenceOutput } from '../../gpu-node/run/native/scheduler.ts'
import { greedy as greedySampling, sequenceOf } from '../requests.ts'
import { type Contender, PROMPT_TOKENS, promptOf, serveContender } from './contender.ts'

const limits = { blocks: 1024, batch_tokens_max: 512, sequences_max: Number(process.argv[4]), waiting_max: 64 }
const model = readModelFolder(process.argv[2]!)
const options = { ...limits, device: 'cpu' as const, threads: Number(process.argv[3]) }
const engine = await loadEngine(model.shape, model.tensors, options, () => {})
const scheduler = new Scheduler(limits)
let salt = 0

serveContender({ prefill, decode, greedy } satisfies Contender)

async function prefill(tokens: number): Promise<number> {
  submit(promptOf(tokens, salt++), 1)
  const start = performance.now()
  await step()
  return (1000 * tokens) / (performance.now() - start)
}

async function decode(count: number, tokens: number): Promise<number> {
  for (let i = 0; i < count; i++) submit(promptOf(PROMPT_TOKENS, salt++), tokens + 1)
  await step()
  const start = performance.now()
  for (let i = 0; i < tokens; i++) await step()
  return (1000 * count * tokens) / (performance.now() - start)
}

async function greedy(prompt: number[], tokens: number): Promise<{ token: number; logprob: number }[]> {
  submit(prompt, tokens)
  const drawn: { token: number; logprob: number }[] = []
  while (drawn.length < tokens) {
    for (const output of await step())
      if ('token' in output) drawn.push({ token: output.token, logprob: output.logprobs!.logprob })
  }
  return drawn
}

function submit(prompt: number[], output_tokens_max: number): void {
  const sampling = { ...greedySampling, logprobs: 0 }
  scheduler.submit(sequenceOf({ prompt, output_tokens_max, cache_salt: `${salt}`, sampling }))
}

async function step(): Promise<SequenceOutput[]> {
  const step = scheduler.schedule()!
  return scheduler.apply(step, await engine.step(step.batch))
}
