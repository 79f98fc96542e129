// The check of a GPU, with the emulator in its place: stages come in order, keep what they measured however they end, and hold up none of
// those behind them.

import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { HANG_MS_MIN } from '../support/patience.ts'

const root = join(import.meta.dirname, '../..')
const build = join(root, 'native/build')
// A table by whatever python3 there is would take longer than the stages.
const without_python = { ...process.env, PATH: '/usr/bin:/bin' }
const folders: string[] = []

function folder() {
  const made = mkdtempSync(join(tmpdir(), 'gpu-check-'))
  folders.push(made)
  return made
}
afterAll(() => {
  for (const made of folders) rmSync(made, { recursive: true })
})

interface Line {
  part: string
  what?: string
  outcome?: string
  [figure: string]: unknown
}

/** What a stage prints at once, so that only the stages in question take time. */
const quick = `[[ $1 != throughput ]] || { echo '{"part": "throughput"}'; exit; }`

/** Programs that are the emulator's, but for what these lines of a shell do first with their arguments. */
function programs(before = '') {
  const made = folder()
  for (const [name, program] of Object.entries({ 'kernel-test': 'kernel-test', 'gpu-bench': 'gpu-bench-emulated' })) {
    const file = join(made, name)
    writeFileSync(file, `#!/usr/bin/env bash\n${before}\nexec ${join(build, program)} "$@"\n`)
    chmodSync(file, 0o755)
  }
  return made
}

function check(binaries: string, ...args: string[]) {
  const out = folder()
  const { status, stdout, stderr } = spawnSync(
    'bash',
    [join(root, 'bench/gpu-check.sh'), '--dry-run', '--binaries', binaries, ...args],
    { encoding: 'utf8', timeout: HANG_MS_MIN, env: { ...without_python, OUT: out } },
  )
  const text = readFileSync(join(out, 'results.json'), 'utf8')
  const lines = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line)
  const outcomes = Object.fromEntries(
    lines.filter(({ part }) => part === 'stage').map(({ what, outcome }) => [what!, outcome!]),
  )
  return { status, output: `${stdout}${stderr}`, out, lines, outcomes }
}

const said = (lines: Line[], part: string) => lines.filter((line) => line.part === part)
const groups = [
  'copies',
  'simple',
  'gemm',
  'fp8',
  'prefill',
  'attention',
  'cache',
  'sampling',
  'models',
  'adapters',
  'parallel',
  'recorded',
]

describe.skipIf(process.arch !== 'x64' && !existsSync(join(build, 'gpu-bench-emulated')))('bench/gpu-check.sh', () => {
  test('takes its stages in order, and leaves out what the machine has no tools for', () => {
    const only = 'build bandwidth tests-copies tests-sampling products steps profile throughput products-fp8 steps-tp'
    const { status, output, lines, outcomes, out } = check(programs(), '--only', only)
    expect(output).not.toContain('FAILED')
    expect(Object.keys(outcomes)).toEqual(only.split(' '))
    for (const [stage, outcome] of Object.entries(outcomes)) {
      if (stage === 'bandwidth') expect(outcome).toBe('left out: no GPU here')
      else if (stage === 'profile') expect(outcome).toMatch(/^(left out: no ncu here|failed|passed)/)
      else expect(`${stage}: ${outcome}`).toBe(`${stage}: passed`)
    }
    expect(status).toBe(0)
    expect(said(lines, 'gemm')).toHaveLength(20)
    expect(said(lines, 'gemm').filter(({ weights }) => weights === 'fp8')).toHaveLength(8) // the logits' product stays fp16
    expect(said(lines, 'gemm')[0]).toMatchObject({ what: 'qkv', rows: 1 })
    // Two batches on one device and on two ranks, and the first and last of them by three other ways to launch them.
    for (const ranks of [undefined, 2])
      expect(said(lines, 'decode').filter(({ tensor_parallel }) => tensor_parallel === ranks)).toHaveLength(8)
    expect(said(lines, 'decode')[0]).toMatchObject({ sequences: 1, context: 40, early: true, recorded: true })
    expect(said(lines, 'prefill')).toMatchObject([{ tokens: 20 }, { tokens: 20, tensor_parallel: 2 }])
    expect(said(lines, 'throughput')).toMatchObject([{ at_once: 3, steps: 5, output_tokens: 15 }])
    for (const line of lines) for (const value of Object.values(line)) expect(value).not.toBeNull()
    expect(readFileSync(join(out, 'table.txt'), 'utf8')).toContain('throughput')
  })

  test('a stage that hangs, crashes or fails is ended and named, keeps its measurements, and the next one runs', () => {
    const pids = folder()
    // What hangs says when its time is over, so that no clock decides; its child ignores being asked to end.
    const binaries = programs(`${quick}
      if [[ $1 == gemm ]]; then
        echo '{"part": "gemm", "what": "qkv", "rows": 1, "us": 2}'
        echo '{"part": "gemm", "what": "half a li'
        bash -c 'trap "" TERM; echo $$ > ${pids}/child; echo over > "$OUT/running"; while true; do sleep 1000; done' &
        sleep 1000
      fi
      case "$*" in
        *'a product '*) kill -SEGV $$ ;;
        *'products of a prefill'*) echo 'not ok'; exit 3 ;;
      esac`)
    const { status, lines, outcomes, output } = check(
      binaries,
      '--only',
      'tests-gemm tests-prefill tests-copies products throughput suspect-prefill',
    )
    expect(outcomes).toMatchObject({
      'tests-copies': 'passed',
      'tests-gemm': 'crashed: signal 11',
      'tests-prefill': 'failed: 3',
      throughput: 'passed',
    })
    expect(outcomes.products).toMatch(/^hung: ended after \d+ s$/)
    expect(Object.keys(outcomes)).toEqual([
      'tests-copies',
      'tests-gemm',
      'tests-prefill',
      'products',
      'throughput',
      'suspect-prefill',
    ])
    expect(said(lines, 'gemm')).toEqual([{ part: 'gemm', what: 'qkv', rows: 1, us: 2 }])
    expect(said(lines, 'suspect').slice(0, 2)).toMatchObject([
      { what: 'prefill', with: '--no-early-start', it: 'fails' },
      { what: 'prefill', with: '--no-recording', it: 'fails' },
    ])
    const child = Number(readFileSync(join(pids, 'child'), 'utf8'))
    expect(existsSync(`/proc/${child}`) && readFileSync(`/proc/${child}/stat`, 'utf8').split(' ')[2] !== 'Z').toBe(
      false,
    )
    expect(output).toContain('failed: tests-gemm tests-prefill products')
    expect(status).toBe(1)
  })

  test('a stage without an end is ended by its own limit, and nothing begins when the time of all is over', () => {
    const binaries = programs(`${quick}; [[ $1 != gemm ]] || sleep 1000`)
    const hung = check(binaries, '--only', 'products', '--limit', 'products=1')
    expect(hung.outcomes).toEqual({ products: 'hung: ended after 1 s' })
    expect(hung.status).toBe(1)
    const late = check(binaries, '--only', 'products throughput', '--budget', '0')
    expect(late.outcomes).toEqual({ products: 'left out: no time is left', throughput: 'left out: no time is left' })
    expect(late.status).toBe(1)
  })

  test('a stage that is run again replaces its own measurements and no others', () => {
    const binaries = programs(`${quick}; [[ $1 != gemm ]] || { echo '{"part": "gemm", "run": 1}'; exit; }`)
    const first = check(binaries, '--only', 'products throughput')
    expect(said(first.lines, 'throughput')).toHaveLength(1)
    const again = spawnSync(
      'bash',
      [join(root, 'bench/gpu-check.sh'), '--dry-run', '--binaries', binaries, '--only', 'products'],
      { encoding: 'utf8', timeout: HANG_MS_MIN, env: { ...without_python, OUT: first.out } },
    )
    expect(again.status).toBe(0)
    const lines = readFileSync(join(first.out, 'results.json'), 'utf8').trim().split('\n')
    expect(lines.filter((line) => line.includes('"gemm"'))).toHaveLength(1)
    expect(lines.filter((line) => line.includes('"throughput"'))).toHaveLength(2)
    expect(readdirSync(first.out)).not.toContain('running')
  })

  test('a stage that there is none of, and an option, are refused', () => {
    for (const args of [
      ['--only', 'product'],
      ['--limit', 'decode=1'],
      ['--layer', '1'],
    ]) {
      const { status, stderr } = spawnSync('bash', [join(root, 'bench/gpu-check.sh'), ...args], {
        encoding: 'utf8',
        env: { ...without_python, OUT: folder() },
      })
      expect(status).toBe(2)
      expect(stderr).toMatch(/no stage is called|unknown option/)
    }
  })

  test('gpu-bisect.sh finds the seed that fails, and the way to launch with which it passes', () => {
    const out = folder()
    const binaries = programs(`
      case "$*" in
        *--list*) ;;
        *'--seed 3 --no-early-start'*) exit 0 ;;
        *'--seed 3'*) echo 'not ok: of the third seed'; kill -SEGV $$ ;;
        *) exit 0 ;;
      esac`)
    const { status, stdout } = spawnSync(
      'bash',
      [join(root, 'bench/gpu-bisect.sh'), 'emulator: embedding', '--binaries', binaries, '--seeds', '5'],
      { encoding: 'utf8', timeout: HANG_MS_MIN, env: { ...without_python, OUT: out } },
    )
    const lines = readFileSync(join(out, 'bisect.json'), 'utf8').trim().split('\n')
    const outcomes = Object.fromEntries(
      lines.map((line) => JSON.parse(line)).map(({ what, outcome }) => [what, outcome]),
    )
    const crashed = 'crashed: signal 11'
    expect(outcomes).toMatchObject({ 'seed 1': 'passed', 'seed 2': 'passed', 'seed 3': crashed, 'again 3': crashed })
    expect(outcomes).toMatchObject({
      'without early starts': 'passed',
      'without recordings': crashed,
      'without either': 'passed',
      'one launch at a time': crashed,
    })
    expect(stdout).toContain('not ok: of the third seed')
    expect(stdout).toContain('1 of 1 fail')
    expect(status).toBe(1)
  })

  test('every test that a GPU can run is in exactly one group', () => {
    const script = readFileSync(join(root, 'bench/gpu-check.sh'), 'utf8')
    const parts = groups.map((group) => {
      const quoted = new RegExp(`\\[${group}\\]=(['"])(.*)\\1`).exec(script)![2]!
      return quoted.replaceAll('@', 'emulator').split('|')
    })
    const { stdout } = spawnSync(join(build, 'kernel-test'), ['--list'], { encoding: 'utf8', timeout: HANG_MS_MIN })
    const of_the_emulator_alone =
      /^emulator: (a faulty|a race|a bulk|a kernel behind|a kernel begins|nothing is|cp\.async|too little|rows of weights|random weights|an engine (enqueues|refuses)|a lost|a device overwrites|a rank overwrites|devices that do not|a refused|attention is the same whole|the last (rows|block) of a huge|an older|draws are those)/
    const names = stdout.split('\n').filter((name) => /^emulator[:,]/.test(name) && !of_the_emulator_alone.test(name))
    expect(names.length).toBeGreaterThan(30)
    for (const name of names) {
      const having = groups.filter((_, i) => parts[i]!.some((part) => name.includes(part)))
      expect(`${name}: ${having.length}`).toBe(`${name}: 1`)
    }
  })
})
