// Our engine beside llama.cpp on this machine's CPU: the same random weights in F16, the same threads, turn by turn.
//   node bench/peers/cpu.ts [--sizes 120m,1.1b] [--rounds 5] [--into bench/results/cpu-DATE.json]
// Where the file exists its rounds are kept and more are added, so that a long measurement can be taken in parts. The
// packages and the models are brought on the first run; a model is 2 × 2.2 GB at most, in .local/.

import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type Contender, promptOf, startContender } from './contender.ts'
import { randomLlama, SIZES, type Size } from './random-llama.ts'
import { type Results, report, type Sample, svg } from './report.ts'

const THREADS = 2
const SEQUENCES = 8
const PREFILL_TOKENS = 512
const DECODE_TOKENS = { '120m': 128, '1.1b': 32 }
// The small model is faster in llama.cpp with one thread in some machines, with two in others; its best counts.
const LLAMA_THREADS = { '120m': [1, 2], '1.1b': [2] }

const root = resolve(import.meta.dirname, '../..')
const today = new Date().toISOString().slice(0, 10)
const { values: options } = parseArgs({
  options: {
    sizes: { type: 'string', default: '120m,1.1b' },
    rounds: { type: 'string', default: '5' },
    into: { type: 'string', default: join(root, 'bench/results', `cpu-${today}.json`) },
  },
})

const sizes = options.sizes.split(',').filter((size): size is Size => size in SIZES)
installPeers()
buildReader()
const results = existsSync(options.into) ? (JSON.parse(readFileSync(options.into, 'utf8')) as Results) : newResults()
for (const size of sizes) await measure(size)
writeFileSync(options.into.replace(/\.json$/, '.svg'), svg(results))
console.log(report(results))

function save(): void {
  mkdirSync(dirname(options.into), { recursive: true })
  writeFileSync(options.into, `${JSON.stringify(results, null, 1)}\n`)
}

function installPeers(): void {
  if (existsSync(join(import.meta.dirname, 'node_modules'))) return
  // Without the optional packages, which are its other platforms and the GPUs; their scripts would compile.
  const args = ['install', '--omit=optional', '--ignore-scripts', '--no-package-lock', '--no-audit', '--no-fund']
  execFileSync('npm', args, { cwd: import.meta.dirname, stdio: 'inherit' })
}

// An older one would read nothing, and be believed.
function buildReader(): void {
  const [source, build] = [join(root, 'native'), join(root, 'native/build')]
  execFileSync('cmake', ['-S', source, '-B', build, '-DCMAKE_BUILD_TYPE=Release'], { stdio: 'ignore' })
  execFileSync('cmake', ['--build', build, '--target', 'engine-bench', '--parallel'], { stdio: 'inherit' })
}

function newResults(): Results {
  const { dependencies } = JSON.parse(readFileSync(join(import.meta.dirname, 'package.json'), 'utf8'))
  return {
    date: today,
    cpu: `${cpus()[0]!.model}, ${cpus().length} CPUs`,
    threads: THREADS,
    node_llama_cpp: dependencies['node-llama-cpp'],
    agreement: {},
    samples: [],
  }
}

async function measure(size: Size): Promise<void> {
  const folder = randomLlama(size, join(root, '.local/bench'))
  const start = async (engine: string, threads: number) => ({
    engine,
    threads,
    contender: await startContender(join(import.meta.dirname, `${engine}.ts`), [folder, `${threads}`, `${SEQUENCES}`]),
  })
  const all = [await start('ziya', THREADS)]
  for (const threads of LLAMA_THREADS[size]) all.push(await start('llama-cpp', threads))
  results.agreement[size] ??= await agreement(all[0]!.contender, all.at(-1)!.contender)
  for (const { contender } of all) await warmUp(contender)

  const before = results.samples.filter((sample) => sample.size === size).map(({ round }) => round)
  const first_round = Math.max(0, ...before) + 1
  for (let round = first_round; round < first_round + Number(options.rounds); round++) {
    const add = (what: Sample['what'], engine: string, threads: number, value: number) =>
      results.samples.push({ size, round, what, engine, threads, value })
    const turns = round % 2 === 0 ? all : all.toReversed()
    for (const { engine, threads, contender } of turns) {
      add('read', engine, threads, readGbPerSecond())
      add('decode', engine, threads, await contender.decode(1, DECODE_TOKENS[size]))
      add('read', engine, threads, readGbPerSecond())
    }
    for (const { engine, threads, contender } of turns)
      add('prefill', engine, threads, await contender.prefill(PREFILL_TOKENS))
    for (const { engine, threads, contender } of turns)
      add('batch', engine, threads, await contender.decode(SEQUENCES, DECODE_TOKENS[size]))
    save()
    console.error(`${size}: round ${round}`)
  }
  for (const { contender } of all) contender.close()
}

async function warmUp(contender: Contender): Promise<void> {
  await contender.prefill(PREFILL_TOKENS)
  await contender.decode(SEQUENCES, 4)
}

/** How far two engines say the same on the same weights; llama.cpp rounds activations to fp16, so near ties may fall otherwise. */
async function agreement(ours: Contender, theirs: Contender): Promise<Results['agreement'][string]> {
  const [prompts, tokens] = [4, 32]
  const differences: number[] = []
  let same = 0
  for (let i = 0; i < prompts; i++) {
    const prompt = promptOf(40, 1000 + i)
    const [a, b] = [await ours.greedy(prompt, tokens), await theirs.greedy(prompt, tokens)]
    const parting = a.findIndex(({ token }, k) => token !== b[k]!.token)
    const together = parting < 0 ? tokens : parting
    same += together
    for (let k = 0; k < together; k++) differences.push(Math.abs(a[k]!.logprob - b[k]!.logprob))
  }
  return { tokens: prompts * tokens, same, logprob_difference_max: Math.max(...differences) }
}

function readGbPerSecond(): number {
  const { status, stdout, stderr } = spawnSync(join(root, 'native/build/engine-bench'), [
    '--read',
    '5',
    '--threads',
    `${THREADS}`,
  ])
  const gb_per_s = Number(stdout)
  if (status !== 0 || !(gb_per_s > 0)) throw new Error(`engine-bench --read: ${stdout}${stderr}`)
  return gb_per_s
}
