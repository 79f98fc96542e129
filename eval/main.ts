// `npm run eval`: a benchmark's pass rate for any model behind an OpenAI-compatible address, or for samples that lie in a file. The
// sandbox is opened before anything is asked, so that no answer is paid for that cannot be judged.

import { basename, join } from 'node:path'
import { openSandbox, type Sandbox } from '../sandbox/sandbox.ts'
import { embedded_model, type OpenEndpoint, openEndpoint } from './endpoint.ts'
import { ceiling, dollars, likely, priceOf } from './forecast.ts'
import { type Options, readOptions, usage } from './options.ts'
import { type Recipe, recipeFor } from './recipe.ts'
import { keepResult, lastResult, openFolder, type RunFolder, readResult, writeCard } from './report/folder.ts'
import { openProgress } from './report/progress.ts'
import { type Result, resultOf } from './report/result.ts'
import { summary } from './report/summary.ts'
import { askForSamples, import_preamble, type Judged, openJudging } from './run.ts'
import { readForeignSamples, readOwnSamples, type Sample } from './samples.ts'
import { readSuite, type Suite } from './suite/suite.ts'

const say = (line: string) => process.stderr.write(`${line}\n`)

await main().catch((error) => {
  say(`✗ ${error.message}`)
  process.exitCode = error.code?.startsWith?.('ERR_PARSE_ARGS') ? 2 : 1
})

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2))
  if (options.help) return console.log(usage)
  const whole = readSuite(options.suite, options.file)
  const suite = { ...whole, problems: whole.problems.slice(0, options.limit) }
  say(`${suite.name}: ${suite.problems.length} problems of ${suite.file}, sha256 ${suite.sha256}`)
  const { sandbox, reason } = await openSandbox(options.sandbox)
  try {
    if (reason) say(`${reason}: Python runs in Pyodide, which is slower; other languages cannot be judged`)
    requireLanguages(sandbox, suite)
    report(options, suite, await (options.samples ? scoreFile : askAndScore)(options, suite, sandbox))
  } finally {
    await sandbox.close()
  }
}

function requireLanguages(sandbox: Sandbox, { problems }: Suite): void {
  const missing = [...new Set(problems.map(({ language }) => language))].filter(
    (one) => !sandbox.languages.includes(one),
  )
  if (missing.length > 0)
    throw new Error(`${missing.join(', ')} cannot be judged here: the compiler or bubblewrap is missing`)
}

interface Finished {
  folder: RunFolder
  result: Result
  judged: Judged[]
}

async function scoreFile(options: Options, suite: Suite, sandbox: Sandbox): Promise<Finished> {
  const file = options.samples!
  const samples = readForeignSamples(file, suite.problems)
  const model = options.model ?? basename(file)
  const folder = openFolder(
    options.out,
    `${suite.name}-${model}`,
    { suite: suite.name, samples: file, preamble: options.preamble },
    false,
  )
  const judging = startJudging(options, suite, sandbox, samples.length)
  for (const sample of samples) judging.judge(sample)
  const judged = await judging.finished()
  const known = { model, recipe: null, sampling: null, preamble: options.preamble, sandbox: sandbox.name }
  const result = resultOf(suite, judged, options.ks, known)
  return { folder, result, judged }
}

async function askAndScore(options: Options, suite: Suite, sandbox: Sandbox): Promise<Finished> {
  const model = options.model ?? embedded_model
  const published = recipeFor(model, options.recipe)
  const recipe: Recipe = options.chat ? { ...published, endpoint: 'chat' } : published
  const sampling = { ...recipe.sampling, ...options.sampling }
  const settings = {
    suite: suite.name,
    sha256: suite.sha256,
    model,
    recipe: recipe.name,
    endpoint: recipe.endpoint,
    sampling,
    n: options.n,
  }
  const folder = openFolder(options.out, `${suite.name}-${model}`, settings, options.fresh)
  const ids = new Set(suite.problems.map(({ id }) => id))
  const have = readOwnSamples(folder.samples).filter(({ task_id }) => ids.has(task_id))
  const total = suite.problems.length * options.n
  if (have.length > 0) say(`${have.length} of ${total} samples are there already, in ${folder.samples}`)
  const judging = startJudging(options, suite, sandbox, total)
  for (const sample of have) judging.judge(sample)
  if (have.length < total) await askAll(options, suite, { recipe, sampling, folder, have, judge: judging.judge })
  const judged = await judging.finished()
  const known = { model, recipe: recipe.name, sampling, preamble: options.preamble, sandbox: sandbox.name }
  const result = resultOf(suite, judged, options.ks, known)
  return { folder, result, judged }
}

interface Sampled {
  recipe: Recipe
  sampling: Recipe['sampling']
  folder: RunFolder
  have: Sample[]
  judge: (sample: Sample) => void
}

async function askAll(options: Options, suite: Suite, sampled: Sampled): Promise<void> {
  const stopping = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => stopping.abort(new Error('stopped; the same command goes on from here')))
  }
  const endpoint = await openEndpoint(options, stopping.signal)
  try {
    await askEndpoint(options, suite, sampled, endpoint, stopping.signal)
  } finally {
    await endpoint.close()
  }
}

async function askEndpoint(
  options: Options,
  suite: Suite,
  sampled: Sampled,
  endpoint: OpenEndpoint,
  signal: AbortSignal,
) {
  const { recipe, sampling, folder, have, judge } = sampled
  const price = options.price ?? (await priceOf(endpoint))
  const most = ceiling({ problems: suite.problems, n: options.n, recipe, sampling, price })
  say(`${endpoint.model} at ${endpoint.base_url}, ${recipe.endpoint}, recipe ${recipe.name}: ${most}`)
  await askForSamples(suite.problems, have, {
    endpoint,
    recipe,
    sampling,
    options,
    file: folder.samples,
    signal,
    on_first: (sample, rest) => rest > 0 && say(`${rest} more: ${likely(sample, rest, options.concurrency, price)}`),
    judge,
  })
  if (price) say(`asked; ${spent(readOwnSamples(folder.samples), price)} in all`)
}

function spent(samples: Sample[], price: { input: number; output: number }): string {
  const [input, output] = (['tokens_in', 'tokens_out'] as const).map((field) =>
    samples.reduce((sum, one) => sum + (one[field] ?? 0), 0),
  )
  return `${input} tokens in, ${output} out, ${dollars(input!, output!, price)}`
}

function startJudging(options: Options, suite: Suite, sandbox: Sandbox, total: number) {
  const progress = openProgress(suite.name, total)
  return openJudging({
    sandbox,
    problems: new Map(suite.problems.map((problem) => [problem.id, problem])),
    preamble: options.preamble ? import_preamble : '',
    cpu_s: options.cpu_s,
    at_once: options.judges,
    on_verdict: progress.add,
  })
}

function report(options: Options, suite: Suite, { folder, result, judged }: Finished): void {
  const before = options.against ? readResult(options.against) : lastResult(options.out, folder, result)
  keepResult(folder, result, judged)
  const text = summary(result, before, suite.problems)
  if (options.json) console.log(JSON.stringify(result))
  else console.log(text)
  if (suite.name === 'humaneval') {
    const table = writeCard(options.out)
    if (!options.json) console.log(`\n${table}`)
  }
  say(
    `${folder.path} has samples, results and settings${suite.name === 'humaneval' ? `; ${join(options.out, 'card.svg')} the chart` : ''}`,
  )
}
