// What a node says of jobs, to a gateway that is a function: what is told at the same time goes together, and each is answered as if it
// had gone alone, whatever the gateway makes of it.

import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import {
  JOB_REPORTS_MAX,
  type JobAnswer,
  type JobReport,
  type JobReports,
  type JobsGiven,
  type JobTaking,
} from '../../../contract/internal/job.ts'
import { CallRefused } from '../../../gpu-node/meter/gateway-calls.ts'
import { JobCalls } from '../../../gpu-node/serve/job-calls.ts'
import { seededRandom } from '../../support/random.ts'

type Told = Omit<JobReport, 'node_id'>
type Call = { path: string; told: unknown }

const LENGTH_MAX = 1 << 20

const ended = (job_id: string, answer = '{}'): Told => ({
  job_id,
  ticket: `ticket of ${job_id}`,
  end: {
    kind: 'answered',
    answer,
    usage: { prompt_tokens: 1, cached_tokens: 0, completion_tokens: 1 },
    delivered_tokens: 0,
  },
})

/** Those of which it is odd are lost, so that each answer can be told from its neighbours'. */
const decisionOn = ({ job_id }: Told): JobAnswer['decision'] => (Number(job_id) % 2 === 1 ? 'lost' : 'kept')

function setUp(answer: (call: Call) => object = answerTo) {
  const calls: Call[] = []
  const refused: string[] = []
  const post = async (path: string, told: object) => {
    calls.push({ path, told })
    await nextTurn()
    return answer({ path, told }) as never
  }
  const job_calls = new JobCalls({
    node_id: 'node-1',
    calls: { post },
    on_refused: (_, job_id) => refused.push(job_id),
  })
  return { job_calls, calls, refused }
}

function answerTo({ path, told }: Call): object {
  if (path === '/internal/jobs/report') return { decision: decisionOn(told as JobReport) }
  return { decisions: (told as JobReports).reports.map(decisionOn) }
}

describe('what became of jobs', () => {
  test('is told together where it is told at the same time, and alone where it is not', async () => {
    const { job_calls, calls } = setUp()
    const first = [ended('0'), ended('1'), ended('2')]
    expect(await Promise.all(first.map((one) => job_calls.tell(one)))).toEqual(['kept', 'lost', 'kept'])
    expect(await job_calls.tell(ended('3'))).toBe('lost')
    expect(calls).toEqual([
      { path: '/internal/jobs/reports', told: { node_id: 'node-1', reports: first } },
      { path: '/internal/jobs/report', told: { node_id: 'node-1', ...ended('3') } },
    ])
  })

  test('goes in calls of a bounded number and length, each once, and each has its own answer', async () => {
    const random = seededRandom()
    for (let round = 0; round < 200; round++) {
      const { job_calls, calls } = setUp()
      const lengths = Array.from({ length: 1 + random.below(40) }, () =>
        random.pick([2, 2, 2, 100, 300_000, LENGTH_MAX - 100, LENGTH_MAX + 1]),
      )
      const all = lengths.map((length, n) => ended(String(n), 'x'.repeat(length)))
      const decisions = await Promise.all(all.map((one) => job_calls.tell(one)))
      expect(decisions).toEqual(all.map(decisionOn))
      const groups = calls.map(({ path, told }) =>
        path === '/internal/jobs/report' ? [told as JobReport] : (told as JobReports).reports,
      )
      expect(groups.flat().map(({ job_id }) => job_id)).toEqual(all.map(({ job_id }) => job_id))
      for (const group of groups) {
        const length = group.reduce((sum, { end }) => sum + (end?.kind === 'answered' ? end.answer.length : 0), 0)
        expect(group.length === 1 || (group.length <= JOB_REPORTS_MAX && length <= LENGTH_MAX)).toBe(true)
      }
    }
  })

  test.each<[string, () => Error]>([
    ['of a release before, which does not know that call', () => new CallRefused(404, '')],
    ['that cannot take one of them', () => new CallRefused(400, '')],
    ['that does not answer', () => new Error('reset')],
  ])('goes alone to a gateway %s', async (_, failure) => {
    const { job_calls, calls } = setUp((call) => {
      if (call.path === '/internal/jobs/reports') throw failure()
      return answerTo(call)
    })
    const all = [ended('0'), ended('1'), ended('2')]
    expect(await Promise.all(all.map((one) => job_calls.tell(one)))).toEqual(['kept', 'lost', 'kept'])
    expect(calls.slice(1).map(({ told }) => told)).toEqual(all.map((one) => ({ node_id: 'node-1', ...one })))
  })

  test('is told until it is answered; of what is refused for good nothing more is told', async () => {
    let count = 0
    const { job_calls, refused } = setUp(({ told }) => {
      const { job_id } = told as JobReport
      if (job_id === '4') throw new CallRefused(413, '')
      if (++count < 4) throw new CallRefused(503, '')
      return { decision: 'kept' }
    })
    expect(await job_calls.tell(ended('2'))).toBe('kept')
    expect(count).toBe(4)
    expect(await job_calls.tell(ended('4'))).toBe('lost')
    expect(refused).toEqual(['4'])
  })
})

describe('jobs', () => {
  const job = (job_id: string) => ({ job_id }) as NonNullable<JobsGiven['job']>

  test('are asked for by an id each, and as many come as there are', async () => {
    const { job_calls, calls } = setUp(() => ({ job: job('a'), further_jobs: [job('b')] }))
    expect(await job_calls.take(4, () => true)).toEqual([job('a'), job('b')])
    const { take_id, further_take_ids } = calls[0]!.told as JobTaking
    expect(new Set([take_id, ...further_take_ids!]).size).toBe(4)
  })

  test('come one by one from a gateway of before', async () => {
    const { job_calls } = setUp(() => ({ job: job('a') }))
    expect(await job_calls.take(4, () => true)).toEqual([job('a')])
  })

  test('are asked for again by the same ids where nobody answers, and are none where it is refused', async () => {
    let count = 0
    const { job_calls, calls } = setUp(() => {
      if (++count < 3) throw new CallRefused(503, '')
      return { job: null, further_jobs: [] }
    })
    expect(await job_calls.take(2, () => true)).toEqual([])
    const ids = calls.map(({ told }) => [(told as JobTaking).take_id, (told as JobTaking).further_take_ids])
    expect(ids).toEqual([ids[0], ids[0], ids[0]])
    const refusing = setUp(() => {
      throw new CallRefused(401, '')
    })
    expect(await refusing.job_calls.take(2, () => true)).toEqual([])
    expect(refusing.calls).toHaveLength(1)
  })

  test('are not asked for any more when the node gives back what it has', async () => {
    const { job_calls, calls } = setUp(() => {
      throw new Error('reset')
    })
    expect(await job_calls.take(2, () => calls.length < 2)).toEqual([])
    expect(calls).toHaveLength(2)
  })
})
