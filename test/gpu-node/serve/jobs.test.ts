// The jobs that a node runs, over a fake engine and a gateway that has some: how many calls they are, and what they do beside who waits.

import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import type { JobReport, JobReports, JobTaking, TakenJob } from '../../../contract/internal/job.ts'
import { signTicket } from '../../../contract/internal/ticket.ts'
import { FakeGateway } from '../../support/fake-gateway.ts'
import { startFakeNode } from '../../support/fake-node.ts'
import { generate, generateRequest, ticketFor } from '../../support/generate.ts'
import { ticketSigner } from '../../support/keys.ts'
import { PATIENCE_MS } from '../../support/patience.ts'

const NOTHING_STORED = { chunk_count: 0, event_count: 0, length: 0, sha256: null }

async function newJobs(count: number): Promise<TakenJob[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const request = generateRequest({ request_id: crypto.randomUUID(), priority: 'batch', max_tokens: 3 })
      return {
        job_id: crypto.randomUUID(),
        request_id: request.request_id,
        ticket: await signTicket(ticketFor(request), ticketSigner),
        body: JSON.stringify(request),
        stored: NOTHING_STORED,
      }
    }),
  )
}

async function setUp(step_ms = 1) {
  const gateway = await FakeGateway.start()
  const node = await startFakeNode({ config: { gateway_url: gateway.url, jobs_max: 8 }, engine: { step_ms } })
  const told = () =>
    gateway.job_calls.flatMap(({ call, told }) =>
      call === 'report' ? [told as JobReport] : call === 'reports' ? (told as JobReports).reports : [],
    )
  const whenTold = (count: number) =>
    vi.waitFor(() => expect(told()).toHaveLength(count), { timeout: PATIENCE_MS, interval: 5 })
  return { gateway, node, told, whenTold }
}

test('are taken, settled and told of a few in a call, each once', async () => {
  const { gateway, told, whenTold } = await setUp()
  const jobs = await newJobs(24)
  gateway.jobs = [...jobs]
  await whenTold(24)
  expect(new Set(told().map(({ job_id }) => job_id))).toEqual(new Set(jobs.map(({ job_id }) => job_id)))
  for (const { end } of told()) expect(end).toMatchObject({ kind: 'answered', usage: { completion_tokens: 3 } })
  const records = gateway.records.map(({ request_id }) => request_id)
  expect(records.sort()).toEqual(jobs.map(({ request_id }) => request_id).sort())
  const asked = gateway.job_calls.flatMap(({ told }) => ('take_id' in told ? [told as JobTaking] : []))
  expect(asked.slice(0, 2).map(({ further_take_ids }) => further_take_ids!.length)).toEqual([3, 3]) // it has room for eight
  for (const { further_take_ids } of asked) expect(further_take_ids!.length).toBeLessThan(4)
  // What is taken together ends at nearly the same time.
  expect(gateway.job_calls.some(({ call }) => call === 'reports')).toBe(true)
  expect(gateway.reports.some(({ records }) => records.length > 1)).toBe(true)
})

test('are taken in one call after the other beside somebody who waits, with a rest between them', async () => {
  const { gateway, node, whenTold } = await setUp(4)
  const waits = generate(node.url, { max_tokens: 600, stream: true })
  await (await waits).body!.getReader().read()
  let [takes, most] = [0, 0]
  const times: number[] = []
  gateway.answers = async (path) => {
    if (path !== '/internal/jobs/take') return
    times.push(performance.now())
    takes += 1
    most = Math.max(most, takes)
    await sleep(20)
    takes -= 1
  }
  gateway.jobs = await newJobs(20)
  await whenTold(20)
  expect(most).toBe(1)
  for (const [place, time] of times.slice(1).entries()) expect(time - times[place]!).toBeGreaterThan(50)
})
