// What a node is asked beside generations: who may ask, and that it says how texts fall into tokens.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { QUESTION_HEADER, type Question, signQuestion } from '../../../contract/internal/question.ts'
import { acceptQuestion } from '../../../gpu-node/serve/door.ts'
import { NODE_ID } from '../../support/generate.ts'
import { newSigner, ticketSigner } from '../../support/keys.ts'
import { newCustomer, startTestStack, type TestStack } from '../../support/stack.ts'

interface Answer {
  error?: { code: string; message: string }
  refusal?: { code: string; message: string } | null
  admitted?: boolean
}

const NOW = 1_000_000
const body = JSON.stringify({ tokens: [1, 2] } satisfies Question)
const asked = { node_id: NODE_ID, expires_unix_ms: NOW, body }
const door = (now: number) => ({
  node_id: NODE_ID,
  model_id: 'm',
  ticket_keys: { known: [ticketSigner] },
  now: () => now,
})

describe('a question', () => {
  test('of our gateway is answered until it is too old', async () => {
    const signature = await signQuestion(ticketSigner, asked)
    expect(await acceptQuestion({ signature, body }, door(NOW))).toEqual({ tokens: [1, 2] })
    await expect(acceptQuestion({ signature, body }, door(NOW + 1))).rejects.toMatchObject({ code: 'bad_ticket' })
  })

  test('of another, for another node, with another body or time is not', async () => {
    const of = async (changes: Partial<typeof asked>, signer = ticketSigner) =>
      signQuestion(signer, { ...asked, ...changes })
    const right = await of({})
    const wrong = [
      undefined,
      '',
      await of({}, await newSigner()),
      await of({ node_id: 'another' }),
      await of({ body: `${body} ` }),
      right.replace(`.${NOW}.`, `.${NOW + 1}.`),
      `${right}.x`,
      right.replace(`.${NOW}.`, '.x.'),
    ]
    for (const signature of wrong)
      await expect(acceptQuestion({ signature, body }, door(NOW))).rejects.toMatchObject({ code: 'bad_ticket' })
  })

  test('that is none is named', async () => {
    const other = JSON.stringify({ tokens: ['a'] })
    const signature = await signQuestion(ticketSigner, { ...asked, body: other })
    await expect(acceptQuestion({ signature, body: other }, door(NOW))).rejects.toMatchObject({ code: 'bad_request' })
  })
})

describe('a node', () => {
  let stack: TestStack
  beforeAll(async () => {
    stack = await startTestStack()
  })
  afterAll(() => stack?.stop())

  test('says by an estimate what it would say to the request', async () => {
    const customer = await newCustomer(stack)
    const ask = async (path: string, body: object) =>
      (await (await customer.fetch(path, { method: 'POST', body: JSON.stringify(body) })).json()) as Answer
    const base = { model: 'ziya-coding-mini', messages: [{ role: 'user', content: 'x' }], max_tokens: 4 }
    const tool = (parameters: object) => [{ type: 'function', function: { name: 't', parameters } }]
    const format = (schema: object) => ({ type: 'json_schema', json_schema: { name: 's', schema } })
    for (const asked of [
      { response_format: format({ minProperties: 1 }) },
      { response_format: { type: 'regex', pattern: '(?=a)' } },
      { tools: tool({ type: 'object', minProperties: 1 }) },
    ]) {
      const { error } = await ask('/v1/chat/completions', { ...base, ...asked })
      const { refusal, admitted } = await ask('/v1/estimate', { ...base, ...asked })
      expect([admitted, refusal]).toEqual([false, { code: error!.code, message: error!.message }])
    }
    for (const asked of [{ response_format: format({ type: 'object' }) }, { tools: tool({ type: 'object' }) }])
      expect((await ask('/v1/estimate', { ...base, ...asked })).admitted).toBe(true)
  })

  test('tells nobody else', async () => {
    const answer = await fetch(`${stack.node_url}/question`, {
      method: 'POST',
      body,
      headers: { [QUESTION_HEADER]: 'x' },
    })
    expect(answer.status).toBe(401)
  })
})
