// llama.cpp as a contender, through node-llama-cpp's prebuilt binary for CPUs.
//   llama-cpp.ts MODEL_FOLDER THREADS SEQUENCES_MAX

import { join } from 'node:path'
import { type Contender, PROMPT_TOKENS, promptOf, serveContender } from './contender.ts'

// What this file uses of the package; its own types are there only where the peers are installed.
interface LlamaSequence {
  clearHistory(): Promise<void>
  evaluateWithoutGeneratingNewTokens(tokens: number[]): Promise<void>
  evaluate(tokens: number[], options: object): AsyncGenerator<number>
  evaluateWithMetadata(
    tokens: number[],
    metadata: { confidence: true },
    options: object,
  ): AsyncGenerator<{ token: number; confidence: number }>
}

const GREEDY = { temperature: 0, yieldEogToken: true }
const [folder, threads, sequences_max] = process.argv.slice(2)
const sequences = await load(join(folder!, 'model.gguf'), Number(threads), Number(sequences_max))
let salt = 0

serveContender({ prefill, decode, greedy } satisfies Contender)

async function load(modelPath: string, threads: number, count: number): Promise<LlamaSequence[]> {
  const name: string = 'node-llama-cpp'
  const { getLlama } = await import(name)
  const llama = await getLlama({ gpu: false, build: 'never', maxThreads: threads })
  const model = await llama.loadModel({ modelPath, useMmap: false })
  const context = await model.createContext({ sequences: count, contextSize: 1024, batchSize: 512, threads })
  return Array.from({ length: count }, () => context.getSequence())
}

async function prefill(tokens: number): Promise<number> {
  const sequence = sequences[0]!
  await sequence.clearHistory()
  const prompt = promptOf(tokens, salt++)
  const start = performance.now()
  await sequence.evaluateWithoutGeneratingNewTokens(prompt)
  return (1000 * tokens) / (performance.now() - start)
}

async function decode(count: number, tokens: number): Promise<number> {
  const all_started = Promise.withResolvers<void>()
  let [started, start] = [0, 0]
  const run = async (sequence: LlamaSequence) => {
    await sequence.clearHistory()
    let made = 0
    for await (const _ of sequence.evaluate(promptOf(PROMPT_TOKENS, salt++), GREEDY)) {
      if (made === 0) {
        started += 1
        if (started === count) {
          start = performance.now()
          all_started.resolve()
        }
        await all_started.promise
      }
      made += 1
      if (made > tokens) break
    }
  }
  await Promise.all(sequences.slice(0, count).map(run))
  return (1000 * count * tokens) / (performance.now() - start)
}

async function greedy(prompt: number[], tokens: number): Promise<{ token: number; logprob: number }[]> {
  const sequence = sequences[0]!
  await sequence.clearHistory()
  const drawn: { token: number; logprob: number }[] = []
  for await (const { token, confidence } of sequence.evaluateWithMetadata(prompt, { confidence: true }, GREEDY)) {
    drawn.push({ token, logprob: Math.log(confidence) })
    if (drawn.length === tokens) break
  }
  return drawn
}
