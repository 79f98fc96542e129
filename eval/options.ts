// The options of `npm run eval`. Without any, it asks the embedded model HumanEval, greedily.

import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { recipes } from './recipe.ts'
import { suiteNames } from './suite/suite.ts'

export const usage = `npm run eval -- [--suite NAME] [--base-url URL --model ID] [--samples FILE] ...
  what
  --suite NAME       ${suiteNames.join(', ')} (humaneval)
  --file FILE        the problems as published, .jsonl, .json or .gz; only humaneval and held-out are here
  --limit N          the first N problems
  --samples FILE     scores these samples instead of asking a model
  --preamble         common imports before every program, as CodeFuse's and CodeGeeX's harness has them
  whom
  --base-url URL     any OpenAI-compatible address; else the running \`npm start\`, else one of its own
  --key KEY          its API key (or OPENAI_API_KEY)
  --model ID         (ziya-coding-mini)
  --price IN,OUT     dollars per million tokens, where the address does not say
  how
  --recipe NAME      prompt and post-processing: ${recipes.map((one) => one.name).join(', ')} (the model's own)
  --chat             the same recipe's question through /v1/chat/completions; the server formats it
  --temperature T    (the recipe's, 0 but for Phind)   --top-p P   --max-tokens N
  --n N              samples a problem (1)   --k 1,10  for pass@k (1)
  --concurrency N    questions at once (16)
  --sandbox NAME     bubblewrap or pyodide (bubblewrap where it works)
  --timeout S        seconds of CPU time a program (5)
  result
  --out DIR          samples, results, table and chart (.local/eval); a run that ended too early goes on there
  --fresh            asks everything anew
  --against FILE     a results.json to show the difference to (the last run's)
  --json             one object on standard output, everything else on standard error`

const flags = {
  suite: { type: 'string', default: 'humaneval' },
  file: { type: 'string' },
  limit: { type: 'string' },
  samples: { type: 'string' },
  preamble: { type: 'boolean', default: false },
  'base-url': { type: 'string' },
  key: { type: 'string' },
  model: { type: 'string' },
  price: { type: 'string' },
  recipe: { type: 'string' },
  chat: { type: 'boolean', default: false },
  temperature: { type: 'string' },
  'top-p': { type: 'string' },
  'max-tokens': { type: 'string' },
  n: { type: 'string', default: '1' },
  k: { type: 'string', default: '1' },
  concurrency: { type: 'string', default: '16' },
  sandbox: { type: 'string', default: 'any' },
  timeout: { type: 'string' },
  out: { type: 'string', default: join(import.meta.dirname, '../.local/eval') },
  fresh: { type: 'boolean', default: false },
  against: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

export type Options = ReturnType<typeof readOptions>

export function readOptions(args: string[]) {
  const { values } = parseArgs({ args, options: flags })
  const n = whole('--n', values.n)
  const ks = values.k.split(',').map((k) => whole('--k', k))
  if (Math.max(...ks) > n) throw new Error(`--k ${values.k} needs as many samples: --n ${Math.max(...ks)}`)
  const kinds = ['any', 'bubblewrap', 'pyodide'] as const
  const sandbox = kinds.find((kind) => kind === values.sandbox)
  if (!sandbox) throw new Error(`--sandbox ${values.sandbox}: there are bubblewrap and pyodide`)
  return {
    help: values.help,
    suite: values.suite,
    file: values.file && resolve(values.file),
    limit: values.limit === undefined ? Number.POSITIVE_INFINITY : whole('--limit', values.limit),
    samples: values.samples && resolve(values.samples),
    preamble: values.preamble,
    base_url: values['base-url'] && address(values['base-url']),
    key: values.key ?? process.env.OPENAI_API_KEY,
    model: values.model,
    price: values.price === undefined ? null : price(values.price),
    recipe: values.recipe,
    chat: values.chat,
    sampling: {
      ...(values.temperature !== undefined && { temperature: fraction('--temperature', values.temperature, 2) }),
      ...(values['top-p'] !== undefined && { top_p: fraction('--top-p', values['top-p'], 1) }),
      ...(values['max-tokens'] !== undefined && { max_tokens: whole('--max-tokens', values['max-tokens']) }),
    },
    n,
    ks,
    concurrency: whole('--concurrency', values.concurrency),
    judges: availableParallelism(),
    sandbox,
    cpu_s: values.timeout === undefined ? null : whole('--timeout', values.timeout),
    out: resolve(values.out),
    fresh: values.fresh,
    against: values.against && resolve(values.against),
    json: values.json,
  }
}

function whole(name: string, text: string): number {
  const number = Number(text)
  if (!Number.isSafeInteger(number) || number < 1) throw new Error(`${name} ${text} is not a whole number from 1`)
  return number
}

function fraction(name: string, text: string, max: number): number {
  const number = Number(text)
  if (text.trim() === '' || !(number >= 0 && number <= max))
    throw new Error(`${name} ${text} is not between 0 and ${max}`)
  return number
}

function price(text: string): { input: number; output: number } {
  const [input, output, ...more] = text.split(',').map(Number)
  if (!(input! >= 0 && output! >= 0) || more.length > 0) throw new Error(`--price ${text} is not IN,OUT in dollars`)
  return { input: input!, output: output! }
}

function address(text: string): string {
  if (!URL.canParse(text) || !/^https?:/.test(text)) throw new Error(`--base-url ${text} is no http address`)
  return text
}
