// What is told before anything is generated: tokens, costs, and whether a request would be admitted.

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Caller, chatBody, errorOf, model, startWithCaller, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let caller: Caller

beforeAll(async () => {
  ;[gateway, caller] = await startWithCaller()
})
afterAll(() => gateway?.stop())
afterEach(() => gateway.node.calm())

const tool = { type: 'function', function: { name: 'warmth', parameters: { type: 'object' } } }
const question = () => gateway.node.questions.at(-1)

describe('tokenize', () => {
  const tokens = [0, 1, 2, 3, 4]

  test('shows the tokens of a prompt, and their spellings where they are asked for', async () => {
    const answer = await caller.post('/v1/tokenize', { model, prompt: 'def' })
    expect(await answer.json()).toEqual({ count: 5, max_model_len: 1024, tokens, token_strs: null })
    expect(question()).toEqual({ prompts: [[{ special: '<s>' }, { text: 'def' }]], with_ids: true })
    const spelled = await caller.post('/v1/tokenize', { model, prompt: 'def', return_token_strs: true })
    expect(await spelled.json()).toMatchObject({ token_strs: tokens.map((id) => `▁${id}`) })
  })

  test('of a prompt alone, and of a conversation', async () => {
    await caller.post('/v1/tokenize', { model, prompt: 'def', add_special_tokens: false })
    expect(question()).toMatchObject({ prompts: [[{ text: 'def' }]] })
    const { messages } = chatBody
    await caller.post('/v1/tokenize', { model, messages })
    await caller.post('/v1/chat/completions', chatBody)
    expect(question()).toMatchObject({ prompts: gateway.node.accepted.at(-1)!.request.prompts })
  })

  test.each(['auto', 'none'])('of a conversation with tools, as it is answered by %s', async (tool_choice) => {
    const messages = [
      { role: 'user', content: 'How warm is it?' },
      { role: 'assistant', tool_calls: [{ id: 'c', type: 'function', function: { name: 'warmth', arguments: '{}' } }] },
      { role: 'tool', tool_call_id: 'c', content: '21' },
    ]
    const asked = { model, messages, tools: [tool], tool_choice }
    const { status } = await caller.post('/v1/chat/completions', asked)
    expect(status).toBe(200)
    await caller.post('/v1/tokenize', asked)
    expect(question()).toMatchObject({ prompts: gateway.node.accepted.at(-1)!.request.prompts })
    expect(JSON.stringify(question()).includes('You may call')).toBe(tool_choice === 'auto')
  })

  test.each([
    [{}, 'prompt'],
    [{ prompt: 'x', tools: [tool] }, 'tools'],
    [{ prompt: 'x', messages: chatBody.messages }, 'prompt'],
    [{ prompt: 5 }, 'prompt'],
    [{ prompt: 'x', chat_template: 'y' }, 'chat_template'],
    [{ prompt: 'x', more: 1 }, 'more'],
  ])('of %o is refused by name', async (body, param) => {
    expect(await errorOf(await caller.post('/v1/tokenize', { model, ...body }))).toMatchObject({ status: 400, param })
  })

  test('and back', async () => {
    const answer = await caller.post('/v1/detokenize', { model, tokens: [5, 6] })
    expect(await answer.json()).toEqual({ prompt: 'decoded' })
    expect(question()).toEqual({ tokens: [5, 6] })
    const wrong = await caller.post('/v1/detokenize', { model, tokens: [-1] })
    expect(await errorOf(wrong)).toMatchObject({ status: 400, param: 'tokens[0]' })
  })
})

describe('an estimate', () => {
  const estimated = async (body: object, asker = caller) => {
    const answer = await asker.post('/v1/estimate', body)
    expect(answer.status, await answer.clone().text()).toBe(200)
    return (await answer.json()) as Record<string, unknown>
  }
  const booksOf = ({ account_id }: Caller) =>
    gateway.db.sql`
      select a.pending_nanousd, a.debited_nanousd, m.requests_level, m.tokens_level, m.requests_in_flight, m.last_used_at,
        (select count(*) from reservations r where r.account_id = a.id) as reservations
      from accounts a left join meters m on m.account_id = a.id where a.id = ${account_id} order by m.key_id`

  test('says what the request then holds and counts, and changes nothing', async () => {
    const asker = await gateway.newCaller() // of whom nothing else is still being booked
    const before = await booksOf(asker)
    const body = { ...chatBody, max_tokens: 16, n: 2 }
    const told = await estimated(body, asker)
    expect(await booksOf(asker)).toEqual(before)
    const { ticket } = await run(body)
    const price = told.pricing as Record<string, string>
    const cost = (input: number, output: number) =>
      String(
        BigInt(input) * BigInt(price.input_nanousd_per_token!) +
          BigInt(output) * BigInt(price.output_nanousd_per_token!),
      )
    expect(told).toMatchObject({
      object: 'estimate',
      model,
      prompt_tokens: 5,
      prompt_tokens_max: ticket.prompt_tokens_max,
      completion_tokens_max: 32,
      cost_nanousd_max: cost(5, 32),
      held_nanousd: cost(ticket.prompt_tokens_max, 32),
      admitted: true,
      refusal: null,
      wait_s: 2,
    })
  })

  async function run(body: object) {
    await (await caller.post('/v1/chat/completions', body)).text()
    return gateway.node.accepted.at(-1)!
  }

  test('is of each form', async () => {
    expect(await estimated({ model, prompt: ['a', 'b'], max_tokens: 4 })).toMatchObject({
      prompt_tokens: 10,
      completion_tokens_max: 8,
    })
    const message = { model, max_tokens: 4, messages: [{ role: 'user', content: 'x' }], system: 's' }
    expect(await estimated({ endpoint: '/v1/messages', ...message })).toMatchObject({ completion_tokens_max: 4 })
    const wrong = await caller.post('/v1/estimate', { model, prompt: 'x', best_of: 3 })
    expect(await errorOf(wrong)).toMatchObject({ status: 400, param: 'best_of' })
  })

  test('counts what is kept of a prompt that is truncated, and no output of one that is only scored', async () => {
    const body = { model, prompt: 'abc', truncate_prompt_tokens: 4, max_tokens: 0, echo: true, logprobs: 1 }
    expect(await estimated(body)).toMatchObject({ admitted: true, prompt_tokens_max: 4, completion_tokens_max: 0 })
    expect(question()).toMatchObject({ truncated: { truncate_prompt: 4, max_tokens: 0 } })
  })

  test('says why the request would be refused', async () => {
    const poor = await gateway.newCaller('1')
    const told = await estimated({ ...chatBody, max_tokens: 16 }, poor)
    expect(told).toMatchObject({ admitted: false, refusal: { code: 'insufficient_quota' } })
    const refused = await errorOf(await poor.post('/v1/chat/completions', { ...chatBody, max_tokens: 16 }))
    expect(told.refusal).toEqual({ code: refused.code, message: refused.message })
    expect(await estimated({ ...chatBody, max_tokens: 1020 })).toMatchObject({
      admitted: false,
      refusal: { code: 'context_length_exceeded' },
    })
  })

  test('says whether what the answer has to be can be held, behind what an admission says', async () => {
    const format = { response_format: { type: 'regex', pattern: 'a' } }
    expect((await estimated({ ...chatBody, ...format, max_tokens: 4 })).admitted).toBe(true)
    expect(question()).toMatchObject({ constraint: { kind: 'regex', regex: 'a' } })
    gateway.node.options.cannot_hold = { code: 'invalid_constraint', message: 'No a.', param: 'response_format' }
    const held = await estimated({ ...chatBody, ...format, max_tokens: 4 })
    expect(held).toMatchObject({ admitted: false, refusal: { code: 'invalid_response_format', message: 'No a.' } })
    expect(held.prompt_tokens).toBe(5)
    expect((await estimated({ ...chatBody, max_tokens: 4 })).admitted).toBe(true) // asks for nothing to be held
    const poor = await gateway.newCaller('1')
    expect(await estimated({ ...chatBody, ...format }, poor)).toMatchObject({ refusal: { code: 'insufficient_quota' } })
  })

  test('of a model that no node serves has no count', async () => {
    expect(await estimated({ ...chatBody, model: 'Ziya-Coding-34B-v1.0', max_tokens: 4 })).toMatchObject({
      prompt_tokens: null,
      cost_nanousd_max: null,
      admitted: false,
      refusal: { code: 'model_unavailable' },
      wait_s: null,
    })
  })

  test('is refused to a key that may not ask', async () => {
    const few = { account_id: caller.account_id, name: 'few', scopes: ['usage'] }
    const { key } = (await (await gateway.admin('/admin/keys', few)).json()) as { key: string }
    const answer = await fetch(`${gateway.url}/v1/estimate`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify(chatBody),
    })
    expect(await errorOf(answer)).toMatchObject({ status: 403, code: 'missing_scope' })
  })
})
