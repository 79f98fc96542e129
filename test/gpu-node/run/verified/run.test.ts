// An answer that is found among candidates, over a runner whose words are known and judges that do as they are told. Drawn histories hold
// what always holds: one end, nothing after it, every token counted once and none above what was paid for.
//   VERIFIED_HISTORIES=1000 npm test -- test/gpu-node/run/verified

import { describe, expect, onTestFinished, test } from 'vitest'
import type { Verification } from '../../../../contract/internal/generation.ts'
import type { Run, RunEvent, RunRequest } from '../../../../gpu-node/run/runner.ts'
import type { JudgedTask, Verdict } from '../../../../gpu-node/run/verified/judge-messages.ts'
import { programOf, repairPrompt } from '../../../../gpu-node/run/verified/program.ts'
import { VerifyingRunner } from '../../../../gpu-node/run/verified/runner.ts'
import { draws } from '../../../support/draws.ts'
import { FakeRunner, textOfChoice } from '../../../support/fake-runner.ts'
import { generateRequest } from '../../../support/generate.ts'
import { eventually } from '../../../support/patience.ts'
import { type Random, seededRandom } from '../../../support/random.ts'

const asked: Verification = {
  language: 'python',
  tests: 'assert f() == 1',
  candidates: 3,
  attempts: 1,
  cpu_s: 5,
  around: { before: 'Once upon a time', after: '' },
  repair: [{ text: 'Again: \0answer\0 fails in \0failure\0' }],
  repair_tokens_max: 1000,
  repair_answer_bytes_max: 1000,
}

const fails = (failure = 'assert f() == 1 # got 2'): Verdict => ({ passed: false, failure })
const PASSES: Verdict = { passed: true, failure: null }

type Judging = (task: JudgedTask, signal: AbortSignal) => Verdict | Promise<Verdict>

function openRunner(judging: Judging) {
  const inner = new FakeRunner({ step_ms: 1 })
  const faults: unknown[] = []
  const judged: { task: JudgedTask; signal: AbortSignal }[] = []
  const judges = {
    languages: ['python' as const],
    judge: async (task: JudgedTask, { signal }: { signal: AbortSignal }) => {
      judged.push({ task, signal })
      return judging(task, signal)
    },
    close: () => {},
  }
  const runner = new VerifyingRunner({ inner, judges, onFault: (error) => faults.push(error) })
  const told = new Map<Run, RunEvent[]>()
  const failed: Run[] = []
  const opened = runner.open({
    onStep: async (step) => {
      for (const event of step.events) told.set(event.run, [...(told.get(event.run) ?? []), event])
      failed.push(...(step.failed ?? []))
    },
    onFailed: (error) => faults.push(error),
  })
  onTestFinished(() => runner.close())
  return { inner, runner, judged, told, failed, faults, opened }
}

const requestOf = (verify: Partial<Verification> = {}, changes: object = {}): RunRequest =>
  generateRequest({ max_tokens: 4, n: 1, verify: { ...asked, ...verify }, ...changes })

/** Its events, once it has ended. */
async function endOf(told: Map<Run, RunEvent[]>, run: Run): Promise<RunEvent[]> {
  await eventually(async () => told.get(run)?.some(({ finish }) => finish !== null) || null)
  return told.get(run)!
}

const sum = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0)
const tokensOf = (events: RunEvent[]) => sum(events.map(({ tokens }) => tokens))
const textOf = (events: RunEvent[]) => events.map(({ text }) => text).join('')

async function run(request: RunRequest, judging: Judging) {
  const opened = openRunner(judging)
  await opened.opened
  const started = opened.runner.prepare(request, 'account')
  started.start()
  const events = await endOf(opened.told, started)
  return { ...opened, run: started, events, report: started.verification! }
}

test('the first that passes is the answer, whole and at once', async () => {
  const { events, report, judged } = await run(requestOf(), ({ candidate }) =>
    candidate.includes(' b') ? PASSES : fails(),
  )
  expect(textOf(events)).toBe(textOfChoice(1, 4))
  expect(events.filter(({ text }) => text !== '')).toHaveLength(1)
  expect(report).toMatchObject({ language: 'python', passed: true, chosen: 1, attempts: 1 })
  expect(report.candidates[0]).toMatchObject({
    attempt: 0,
    index: 0,
    passed: false,
    failure: 'assert f() == 1 # got 2',
  })
  expect(judged[0]!.task).toMatchObject({ candidate: `Once upon a time${textOfChoice(0, 4)}`, tests: asked.tests })
})

test.each([
  ['python', undefined, ''],
  ['go', undefined, 'Once upon a time'],
  ['go', 'its own', 'its own'],
] as const)('tests in %s may use (%s) beside the program: "%s"', async (language, context, told) => {
  const { judged } = await run(requestOf({ language, context }), () => PASSES)
  expect(judged[0]!.task.context).toBe(told)
})

test('one that passes stops those that are still generated and those that are judged', async () => {
  const opened = openRunner((_, signal) => (opened.judged.length === 1 ? PASSES : stopped(signal)))
  await opened.opened
  const long = opened.runner.prepare(requestOf({}, { max_tokens: 4 }), 'account')
  long.start()
  const events = await endOf(opened.told, long)
  expect(opened.judged.every(({ signal }) => signal.aborted)).toBe(true)
  expect(tokensOf(events)).toBe(sum(long.verification!.candidates.map(({ completion_tokens }) => completion_tokens)))
  expect(opened.inner.load.running).toBe(0)
})

const stopped = (signal: AbortSignal) =>
  new Promise<Verdict>((resolve) => signal.addEventListener('abort', () => resolve(fails())))

test('what the runner below has not told yet when one passes is not told any more', async () => {
  const opened = openRunner(() => PASSES)
  await opened.opened
  const run = opened.runner.prepare(requestOf(), 'account')
  run.start()
  const events = await endOf(opened.told, run)
  await new Promise((resolve) => setTimeout(resolve, 10)) // for as many steps as would tell of it
  expect(opened.told.get(run)).toEqual(events)
})

test('where none passes the next attempt is shown what failed, and the last one has an answer all the same', async () => {
  const { events, report, inner } = await run(requestOf({ attempts: 2 }), ({ candidate }) =>
    fails(candidate.includes(' c') ? 'assert f() == 1 # got 3' : 'SyntaxError: no'),
  )
  expect(inner.started).toEqual([
    [[{ special: '<s>' }, { text: 'Once upon a time' }]],
    [[{ text: `Again: ${textOfChoice(2, 4)} fails in assert f() == 1 # got 3` }]],
  ])
  expect(report).toMatchObject({ passed: false, attempts: 2, chosen: 5 })
  expect(textOf(events)).toBe(textOfChoice(2, 4))
  expect(tokensOf(events)).toBe(2 * 3 * 4)
})

test('the same program is judged once', async () => {
  const same = { around: null, candidates: 1, attempts: 3, repair: [{ text: 'again' }] }
  const { judged, report } = await run(requestOf(same), () => fails())
  expect(judged).toHaveLength(1)
  expect(report.candidates).toHaveLength(3)
})

test.each([
  ['longer than was paid for', { repair_tokens_max: 3 }],
  ['refused', { repair: [{ text: 'unreadable' }] }],
])('an attempt whose prompt is %s is not begun, and what there is is the answer', async (_, changes) => {
  const { report, inner } = await run(requestOf({ attempts: 3, ...changes }), () => fails())
  expect(report).toMatchObject({ passed: false, attempts: 1 })
  expect(inner.started).toHaveLength(1)
})

test('a request that is greedy has its own answer first, and others beside it', () => {
  const inner = new FakeRunner({ step_ms: 1 })
  const prepared: RunRequest[] = []
  const prepare = inner.prepare.bind(inner)
  inner.prepare = (request) => {
    prepared.push(request)
    return prepare(request)
  }
  const judges = { languages: ['python' as const], judge: async () => PASSES, close: () => {} }
  const runner = new VerifyingRunner({ inner, judges, onFault: () => {} })
  const { sampling } = requestOf()
  runner.prepare(requestOf({}, { sampling: { ...sampling, temperature: 0 } }), 'account')
  runner.prepare(requestOf({}, { sampling: { ...sampling, temperature: 0.3 } }), 'account')
  expect(prepared.map(({ n, later_temperature }) => [n, later_temperature])).toEqual([
    [3, 1],
    [3, undefined],
  ])
})

test('who leaves while candidates are judged stops them, and all that was generated is counted', async () => {
  const opened = openRunner((_, signal) => stopped(signal))
  await opened.opened
  const run = opened.runner.prepare(requestOf(), 'account')
  run.start()
  await eventually(async () => (opened.judged.length === 3 ? true : null))
  const last = run.stop()
  expect(last).toHaveLength(1)
  expect(last[0]).toMatchObject({ run, finish: 'length', text: textOfChoice(0, 4) })
  expect(opened.judged.every(({ signal }) => signal.aborted)).toBe(true)
  expect(tokensOf([...opened.told.get(run)!, ...last])).toBe(12)
  expect(run.stop()).toEqual([])
  expect(run.verification).toMatchObject({ passed: false, chosen: 0 })
})

test('a run that fails below fails alone, and its candidates are judged no more', async () => {
  const opened = openRunner((_, signal) => stopped(signal))
  await opened.opened
  const run = opened.runner.prepare(requestOf({}, { max_tokens: 900 }), 'account')
  run.start()
  await eventually(async () => opened.told.get(run) && true)
  opened.inner.failRuns()
  await eventually(async () => (opened.failed.includes(run) ? true : null))
  expect(run.stop()).toEqual([])
  expect(opened.faults).toEqual([])
})

test('what throws between two attempts ends that run alone', async () => {
  const opened = openRunner(() => fails())
  await opened.opened
  const thrown = new Error('of the format')
  opened.inner.format = async () => {
    throw thrown
  }
  const run = opened.runner.prepare(requestOf({ attempts: 2 }), 'account')
  run.start()
  await eventually(async () => (opened.failed.includes(run) ? true : null))
  expect(opened.faults).toEqual([thrown])
})

test('candidates that wait for their verdicts keep their places below', async () => {
  const opened = openRunner((_, signal) => stopped(signal))
  await opened.opened
  const rooms: number[] = []
  opened.inner.hasRoomFor = ((choices: number) => rooms.push(choices) > 0) as () => boolean
  const run = opened.runner.prepare(requestOf(), 'account')
  run.start()
  await eventually(async () => (opened.judged.length === 3 ? true : null))
  opened.runner.hasRoomFor(5)
  run.stop()
  opened.runner.hasRoomFor(5)
  expect(rooms).toEqual([8, 5])
})

test('a request without tests goes through as it is', async () => {
  const opened = openRunner(() => fails())
  await opened.opened
  const plain = opened.runner.prepare(generateRequest({ max_tokens: 3, n: 2 }), 'account')
  plain.start()
  await eventually(async () =>
    (opened.told.get(plain) ?? []).filter(({ finish }) => finish).length === 2 ? true : null,
  )
  expect(textOf(opened.told.get(plain)!.filter(({ choice }) => choice === 1))).toBe(textOfChoice(1, 3))
  expect(plain.verification).toBeUndefined()
})

describe('a program', () => {
  test.each([
    ['a fence', 'Here:\n```python\ndef f():\n    pass\n```\nDone.', 'def f():\n    pass'],
    ['an open fence', '```\nf = 1', 'f = 1'],
    ['no fence', 'f = 1', 'f = 1'],
  ])('of an answer with %s', (_, text, program) => {
    expect(programOf(text, null)).toBe(program)
  })

  test('of a gap has both sides', () => {
    expect(programOf('x', { before: 'def f(', after: '): pass' })).toBe('def f(x): pass')
  })
})

test('what fills a gap is bounded, cuts no character, and opens no other gap', () => {
  const gaps = [
    { special: '<s>' },
    { text: '\0failure\0/\0answer\0' },
    { chat: [{ role: 'user' as const, text: '\0failure\0' }], is_continued: false },
  ]
  const filled = repairPrompt({ repair: gaps, repair_answer_bytes_max: 4 }, { answer: '中国人', failure: '\0answer\0' })
  expect(filled).toEqual([
    { special: '<s>' },
    { text: '\0answer\0/中' },
    { chat: [{ role: 'user', text: '\0answer\0' }], is_continued: false },
  ])
})

interface History {
  request: RunRequest
  verdicts: (Verdict | 'never')[]
  stops_after: number // events; some never come to so many
  delay_ms: number
}

function drawHistory(random: Random): History {
  const verify = {
    candidates: 1 + random.below(4),
    attempts: 1 + random.below(3),
    repair_tokens_max: random.pick([3, 1000]),
  }
  const one = () => random.pick<Verdict | 'never'>([PASSES, fails(), fails('SyntaxError: no'), fails(), 'never'])
  return {
    request: requestOf(verify, { max_tokens: 1 + random.below(5) }),
    verdicts: Array.from({ length: 12 }, one),
    stops_after: random.chance(0.5) ? 1 + random.below(8) : 1000,
    delay_ms: random.below(3),
  }
}

test('drawn histories count every token once, never above what was paid for, and end once', {
  timeout: 600_000,
}, async () => {
  const random = seededRandom()
  for (let i = draws('VERIFIED_HISTORIES', { few: 30, all: 1000 }); i > 0; i--) await playOut(drawHistory(random))
})

async function playOut({ request, verdicts, stops_after, delay_ms }: History): Promise<void> {
  const rest = [...verdicts]
  let has_hung = false
  const opened = openRunner(async (_, signal) => {
    const verdict = rest.shift() ?? fails()
    if (verdict === 'never') has_hung = true
    if (verdict === 'never') return stopped(signal)
    await new Promise((resolve) => setTimeout(resolve, delay_ms))
    return verdict
  })
  await opened.opened
  const run = opened.runner.prepare(request, 'account')
  run.start()
  await eventually(async () => {
    const events = opened.told.get(run) ?? []
    return events.some(({ finish }) => finish !== null) || events.length >= stops_after || has_hung || null
  })
  const last = run.stop()
  const events = [...(opened.told.get(run) ?? []), ...last]
  const { verify, max_tokens } = request
  expect(events.filter(({ finish }) => finish !== null)).toHaveLength(1)
  expect(events.findLastIndex(({ finish }) => finish !== null)).toBe(events.length - 1)
  const { candidates, passed, chosen } = run.verification!
  expect(tokensOf(events)).toBe(sum(candidates.map(({ completion_tokens }) => completion_tokens)))
  expect(tokensOf(events)).toBeLessThanOrEqual(run.choices[0]!.output_tokens_max)
  expect(run.choices[0]!.output_tokens_max).toBe(verify!.candidates * verify!.attempts * max_tokens)
  expect(passed).toBe(candidates[chosen!]!.passed === true)
  expect(opened.faults).toEqual([])
  expect(opened.inner.load.running).toBe(0)
  await opened.runner.close()
}
