// The books against an engine's own totals: what a node that stands in front of an engine was told, beside what the engine says that it
// computed, each by its own page for Prometheus.
//   node local/compare-engine.ts --engine http://10.0.0.5:8000/metrics --node http://127.0.0.1:9000/metrics [--seconds 60]

import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { samplesIn } from '../gpu-node/run/upstream/engine-metrics.ts'

/** Tokens since the start of whoever counts. */
export interface Totals {
  prompt: number
  generation: number
}

const NAMES = {
  prompt: ['vllm:prompt_tokens_total', 'sglang:prompt_tokens_total'],
  generation: ['vllm:generation_tokens_total', 'sglang:generation_tokens_total'],
}

/** Throws where the page does not have them. */
export function totalsIn(text: string): Totals {
  const samples = samplesIn(text)
  const totalOf = (names: string[]) => {
    const values = names.flatMap((name) => samples.get(name) ?? [])
    if (values.length === 0) throw new Error(`the page has none of ${names.join(', ')}`)
    return values.reduce((sum, value) => sum + value, 0)
  }
  return { prompt: totalOf(NAMES.prompt), generation: totalOf(NAMES.generation) }
}

/** What is counted late: the tokens of answers that ran when it began. */
const UNDER_WAY = 0.01
const UNDER_WAY_MIN = 1000

/** Of how much both grew: whether the node can have been told so. An engine may be ahead by what it computed for nobody. */
export function isPossible(engine: number, node: number): boolean {
  return node - engine <= Math.max(UNDER_WAY_MIN, engine * UNDER_WAY)
}

async function read(url: string, token?: string): Promise<Totals> {
  const answer = await fetch(url, { headers: token ? { authorization: `Bearer ${token}` } : {} })
  if (!answer.ok) throw new Error(`${url} answers with the status ${answer.status}`)
  return totalsIn(await answer.text())
}

async function main(): Promise<number> {
  const options = {
    engine: { type: 'string' },
    node: { type: 'string' },
    seconds: { type: 'string', default: '60' },
  } as const
  const { engine, node, seconds } = parseArgs({ options }).values
  if (!engine || !node || !(Number(seconds) > 0)) throw new Error('--engine URL --node URL [--seconds N]')
  const readBoth = () => Promise.all([read(engine), read(node, process.env.METRICS_TOKEN)])
  const before = await readBoth()
  await sleep(Number(seconds) * 1000)
  const after = await readBoth()
  const rows = (['prompt', 'generation'] as const).map((kind) => {
    const [of_engine, of_node] = [0, 1].map((i) => after[i]![kind] - before[i]![kind]) as [number, number]
    return {
      tokens: kind,
      engine: of_engine,
      node: of_node,
      ahead: of_engine - of_node,
      possible: isPossible(of_engine, of_node),
    }
  })
  console.table(rows)
  return rows.every(({ possible }) => possible) ? 0 : 1
}

if (import.meta.main) {
  process.exitCode = await main().catch((error: Error) => {
    console.error(`✗ ${error.message}`)
    return 2
  })
}
