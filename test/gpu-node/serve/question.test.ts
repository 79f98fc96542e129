// What a node is asked beside generations: who may ask, and that it says how texts fall into tokens.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { QUESTION_HEADER, type Question, signQuestion } from '../../../contract/internal/question.ts'
import { acceptQuestion } from '../../../gpu-node/serve/door.ts'
import { NODE_ID } from '../../support/generate.ts'
import { newSigner, ticketSigner } from '../../support/keys.ts'
import { startTestStack, type TestStack } from '../../support/stack.ts'

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

  test('tells nobody else', async () => {
    const answer = await fetch(`${stack.node_url}/question`, {
      method: 'POST',
      body,
      headers: { [QUESTION_HEADER]: 'x' },
    })
    expect(answer.status).toBe(401)
  })
})
