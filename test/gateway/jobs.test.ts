// Jobs at the gateway, taken and told of by a node that signs what it says: several in a call are what as many calls would be.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { JobAnswer, JobAnswers, JobReport, JobReports, JobsGiven, TakenJob } from '../../contract/internal/job.ts'
import { type Caller, model, startWithCaller, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let caller: Caller
beforeAll(async () => {
  ;[gateway, caller] = await startWithCaller()
})
afterAll(() => gateway?.stop())

const node_id = 'canned'

async function say(path: string, told: object): Promise<Response> {
  return gateway.node.send(JSON.stringify(told), gateway.node.key, `/internal/jobs/${path}`)
}

async function take(ids: string[]): Promise<TakenJob[]> {
  const [take_id, ...further_take_ids] = ids
  const answer = await say('take', { node_id, take_id, further_take_ids, sent_unix_ms: Date.now() })
  expect(answer.status).toBe(200)
  const { job, further_jobs } = (await answer.json()) as JobsGiven
  return job ? [job, ...further_jobs!] : []
}

const newIds = (count: number) => Array.from({ length: count }, () => randomUUID())

async function queue(count: number): Promise<string[]> {
  const made = Array.from({ length: count }, async (_, n) => {
    const answer = await caller.post('/v1/responses', { model, input: `sort ${n}`, background: true })
    return ((await answer.json()) as { id: string }).id
  })
  return (await Promise.all(made)).map((id) => id.replace('resp_', ''))
}

const bare = (id: string) => id.replaceAll('-', '')

function endOf({ job_id, ticket }: TakenJob): Omit<JobReport, 'node_id'> {
  const answer = JSON.stringify({ id: `resp_${bare(job_id)}`, object: 'response', status: 'completed', output: [] })
  const usage = { prompt_tokens: 1, cached_tokens: 0, completion_tokens: 1 }
  return { job_id, ticket, end: { kind: 'answered', answer, usage, delivered_tokens: 0 } }
}

async function tell(reports: JobReports['reports']): Promise<JobAnswers['decisions']> {
  const answer = await say('reports', { node_id, reports })
  expect(answer.status).toBe(200)
  return ((await answer.json()) as JobAnswers).decisions
}

const states = async (ids: string[]) => {
  const rows = await gateway.db.sql`select state from jobs where id = any (string_to_array(${ids.join()}, ',')::uuid[])`
  return rows.map(({ state }) => state as string)
}

describe('several jobs', () => {
  test('are taken in one call, each once, and the same by the same ids', async () => {
    const made = await queue(5)
    const ids = newIds(4)
    const taken = await take(ids)
    expect(new Set(taken.map(({ job_id }) => bare(job_id))).size).toBe(4)
    const again = await take(ids)
    expect(again.map(({ job_id, request_id }) => [job_id, request_id])).toEqual(
      taken.map(({ job_id, request_id }) => [job_id, request_id]),
    )
    const rest = await take(newIds(16))
    expect([...taken, ...rest].map(({ job_id }) => bare(job_id)).sort()).toEqual(made.sort())
    expect(await take(newIds(2))).toEqual([])
    expect(await tell([...taken, ...rest].map(endOf))).toEqual(made.map(() => 'kept'))
    expect(await states(made)).toEqual(made.map(() => 'completed'))
  })

  test('are given though one of them cannot be', async () => {
    const made = await queue(3)
    await gateway.db.sql`update jobs set request = '\\x00' where id = ${made[1]!}`
    const taken = await take(newIds(3))
    expect(taken.map(({ job_id }) => bare(job_id)).sort()).toEqual([made[0]!, made[2]!].sort())
    expect(await states([made[1]!])).toEqual(['failed'])
    await tell(taken.map(endOf))
  })

  test('are given though the database fails at the last of them', async () => {
    const { sql } = gateway.db
    const made = await queue(3)
    const [last] =
      await sql`select id from jobs where id = any (string_to_array(${made.join()}, ',')::uuid[]) order by due_at desc limit 1`
    await sql.unsafe(`
      create function public.fail_at_last() returns trigger language plpgsql as $$ begin
        if new.id = '${last!.id}' then raise exception 'it fails'; end if; return new; end $$;
      create trigger fail_at_last before update on jobs for each row execute function public.fail_at_last()`)
    const taken = await take(newIds(3))
    const given = taken.map(({ job_id }) => bare(job_id))
    expect(given.sort()).toEqual(made.filter((id) => id !== bare(last!.id)).sort())
    await sql.unsafe('drop trigger fail_at_last on jobs; drop function public.fail_at_last()')
    const rest = await take(newIds(3))
    expect(rest.map(({ job_id }) => job_id)).toEqual([last!.id])
    await tell([...taken, ...rest].map(endOf))
  })

  test('end together, with their own decisions, and no second time', async () => {
    await queue(4)
    const taken = await take(newIds(4))
    const [first, second, third, fourth] = taken as [TakenJob, TakenJob, TakenJob, TakenJob]
    expect((await caller.post(`/v1/responses/resp_${bare(third.job_id)}/cancel`, {})).status).toBe(200)
    const { job_id, ticket } = second
    const ends = [endOf(first), { job_id, ticket, end: { kind: 'returned' as const } }, endOf(third), endOf(fourth)]
    expect(await tell(ends)).toEqual(['kept', 'kept', 'lost', 'kept'])
    expect(await tell(ends)).toEqual(['lost', 'lost', 'lost', 'lost'])
    expect(await states([second.job_id])).toEqual(['queued'])
    const [again] = await take(newIds(1))
    expect(again).toMatchObject({ job_id: second.job_id })
    const alone = await say('report', { node_id, ...endOf(again!) })
    expect((await alone.json()) as JobAnswer).toEqual({ decision: 'kept' })
  })

  test('of which one was not this node’s are not taken note of: each can still be told alone', async () => {
    await queue(2)
    const [first, second] = (await take(newIds(2))) as [TakenJob, TakenJob]
    const refused = await say('reports', { node_id, reports: [endOf(first), { ...endOf(second), ticket: 'forged' }] })
    expect(refused.status).toBe(401)
    expect(await tell([endOf(first), endOf(second)])).toEqual(['kept', 'kept'])
  })

  test('are a bounded number', async () => {
    const [take_id, ...further_take_ids] = newIds(17)
    const many = await say('take', { node_id, take_id, further_take_ids, sent_unix_ms: Date.now() })
    expect(many.status).toBe(400)
    expect((await say('reports', { node_id, reports: [] })).status).toBe(400)
  })

  test('are one for a node of before, which asks for one and reads one', async () => {
    const made = await queue(2)
    const answer = await say('take', { node_id, take_id: randomUUID(), sent_unix_ms: Date.now() })
    const { job } = (await answer.json()) as JobsGiven
    expect(made).toContain(bare(job!.job_id))
    await tell([job!, ...(await take(newIds(4)))].map(endOf))
  })
})
