// `npm run instruct`: instructions with tested solutions, from seeds, by any model behind an OpenAI-compatible address.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { clientOf } from '../eval/ask-model.ts'
import { readSuite, suiteNames } from '../eval/suite/suite.ts'
import { openSandbox } from '../sandbox/sandbox.ts'
import { Answers } from './answers.ts'
import { type Asking, askingByBatch, askingEach } from './ask.ts'
import { LeakIndex } from './overlap.ts'
import { type Made, make } from './recipe.ts'

const usage = `npm run instruct -- --seeds FILE --base-url URL --model ID [--out DIR] ...
  --seeds FILE         JSONL, a line a task: {"instruction": "…"}
  --base-url URL       any OpenAI-compatible address
  --key KEY            its API key (or OPENAI_API_KEY)
  --model ID
  --generations N      how often each task is made harder (2)
  --batch              a stage is one batch of /v1/batches, at its price
  --benchmark NAME     no item has ten words in a row with it: ${suiteNames.join(', ')} (humaneval)
  --benchmark-file FILE   its problems as published
  --temperature T (0.7)   --max-tokens N (1024)   --concurrency N (16)
  --out DIR            data.jsonl, rejected.jsonl and answers.jsonl (.local/instruct); a run that ended too early goes on there`

const flags = {
  seeds: { type: 'string' },
  'base-url': { type: 'string' },
  key: { type: 'string' },
  model: { type: 'string' },
  generations: { type: 'string', default: '2' },
  batch: { type: 'boolean', default: false },
  benchmark: { type: 'string', default: 'humaneval' },
  'benchmark-file': { type: 'string' },
  temperature: { type: 'string', default: '0.7' },
  'max-tokens': { type: 'string', default: '1024' },
  concurrency: { type: 'string', default: '16' },
  'poll-ms': { type: 'string', default: '2000' },
  out: { type: 'string', default: join(import.meta.dirname, '../.local/instruct') },
  help: { type: 'boolean', short: 'h', default: false },
} as const

const BAR_WIDTH = 24

const say = (line: string) => process.stderr.write(`${line}\n`)

await main().catch((error) => {
  say(`✗ ${error.message}`)
  process.exitCode = error.code?.startsWith?.('ERR_PARSE_ARGS') ? 2 : 1
})

async function main(): Promise<void> {
  const { values } = parseArgs({ args: process.argv.slice(2), options: flags })
  if (values.help) return console.log(usage)
  for (const name of ['seeds', 'base-url', 'model'] as const) if (!values[name]) throw new Error(`--${name} is needed`)
  const out = resolve(values.out)
  mkdirSync(out, { recursive: true })
  const seeds = readSeeds(values.seeds!)
  const stopping = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.once(name, () => stopping.abort(new Error('stopped; the same command goes on from here')))
  const asking: Asking = {
    client: clientOf({
      base_url: values['base-url']!,
      api_key: values.key ?? process.env.OPENAI_API_KEY ?? 'none',
      model: values.model!,
    }),
    model: values.model!,
    max_tokens: whole('--max-tokens', values['max-tokens']),
    temperature: Number(values.temperature),
    concurrency: whole('--concurrency', values.concurrency),
    signal: stopping.signal,
  }
  const batch_file = join(out, 'batch')
  const { sandbox, reason } = await openSandbox()
  if (reason) say(`${reason}: programs run in Pyodide, which is slower`)
  try {
    const made = await make({
      seeds,
      generations: whole('--generations', values.generations),
      answers: new Answers(join(out, 'answers.jsonl')),
      ask: values.batch ? askingByBatch(asking, batch_file, whole('--poll-ms', values['poll-ms'])) : askingEach(asking),
      sandbox,
      leaks: leaksOf(values.benchmark, values['benchmark-file']),
      on_stage: openBar,
    })
    writeResult(out, made)
  } finally {
    await sandbox.close()
  }
}

function readSeeds(file: string): string[] {
  const lines = readFileSync(file, 'utf8').split('\n')
  return lines.flatMap((line, i) => {
    if (line.trim() === '') return []
    const { instruction } = JSON.parse(line) as { instruction?: unknown }
    if (typeof instruction !== 'string' || instruction.trim() === '')
      throw new Error(`${file}, line ${i + 1}: there is no instruction`)
    return [instruction.trim()]
  })
}

function leaksOf(name: string, file: string | undefined): LeakIndex {
  const leaks = new LeakIndex()
  for (const { id, prompt, question } of readSuite(name, file).problems) leaks.add(id, question ?? prompt)
  return leaks
}

/** A line that changes on a terminal, and a line a tenth elsewhere. */
function openBar(name: string, total: number): () => void {
  if (total === 0) return () => {}
  let done = 0
  return () => {
    done++
    const full = Math.floor((BAR_WIDTH * done) / total)
    const line = `${name} ${'█'.repeat(full)}${'░'.repeat(BAR_WIDTH - full)} ${done}/${total}`
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${line}${done === total ? '\n' : ''}`)
    else if (done === total || Math.floor((10 * done) / total) > Math.floor((10 * (done - 1)) / total)) say(line)
  }
}

function writeResult(out: string, made: Made[]): void {
  const linesOf = (kind: Made['kind']) =>
    made.flatMap((one) => (one.kind === kind ? [`${JSON.stringify(one.item)}\n`] : []))
  const [accepted, rejected] = [linesOf('accepted'), linesOf('rejected')]
  writeWhole(join(out, 'data.jsonl'), accepted.join(''))
  writeWhole(join(out, 'rejected.jsonl'), rejected.join(''))
  say(`${accepted.length} items in ${join(out, 'data.jsonl')}, ${rejected.length} rejected, each with its reason`)
}

function writeWhole(file: string, text: string): void {
  writeFileSync(`${file}.new`, text)
  renameSync(`${file}.new`, file)
}

function whole(name: string, text: string): number {
  const number = Number(text)
  if (!Number.isSafeInteger(number) || number < 1) throw new Error(`${name} ${text} is not a whole number from 1`)
  return number
}
