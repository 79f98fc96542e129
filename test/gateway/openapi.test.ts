// The document of the API: it is what the route table says, it is committed as it is, and what the gateway answers is what it says.
// (Every JSON answer that the other tests of the gateway get is held against it too, by test/support/gateway.ts.)

import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { routes } from '../../gateway/app.ts'
import { openApiDocument } from '../../gateway/openapi.ts'
import { DOCUMENT, documentText } from '../../local/openapi.ts'
import { type Caller, chatBody, model, startWithCaller, type TestGateway } from '../support/gateway.ts'
import { expectDocumented, expectDocumentedEvent } from '../support/openapi.ts'

const text = documentText()
const document = openApiDocument(routes) as {
  info: { version: string }
  paths: Record<string, Record<string, { security: Record<string, string[]>[] }>>
}

describe('the document', () => {
  test('is committed as it is (`npm run openapi` writes it)', () => {
    expect(readFileSync(DOCUMENT, 'utf8')).toBe(text)
  })

  test('has the version of the package', () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }
    expect(document.info.version).toBe(version)
  })

  test('has every endpoint but those of nodes and of Stripe', () => {
    const documented = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    )
    const served = routes
      .filter(({ who }) => who !== 'node' && who !== 'stripe')
      .flatMap(({ path, methods }) => methods.map(({ method }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')}`))
    expect(documented.toSorted()).toEqual(served.toSorted())
  })

  test('has every shape that it names', () => {
    const named = new Set(Array.from(text.matchAll(/"\$ref": "#([^"]+)"/g), ([, pointer]) => pointer!))
    expect(named.size).toBeGreaterThan(15)
    const missing = [...named].filter((pointer) => at(pointer) === undefined)
    expect(missing).toEqual([])
  })
})

function at(pointer: string): unknown {
  const keys = pointer.slice(1).split('/')
  return keys.reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], document)
}

describe('the gateway', () => {
  let gateway: TestGateway
  let caller: Caller

  beforeAll(async () => {
    ;[gateway, caller] = await startWithCaller()
  })
  afterAll(() => gateway?.stop())

  test('serves it to anybody', async () => {
    const served = await fetch(`${gateway.url}/openapi.json`)
    expect(served.status).toBe(200)
    expect(await served.json()).toEqual(JSON.parse(text))
  })

  test.each([
    ['/v1/completions', { model, prompt: 'x', max_tokens: 4, logprobs: 2 }],
    ['/v1/chat/completions', { ...chatBody, max_tokens: 4, logprobs: true, top_logprobs: 2 }],
  ])('%s streams the events that it has', async (path, body) => {
    const answer = await caller.post(path, { ...body, stream: true, stream_options: { include_usage: true } })
    const events = Array.from((await answer.text()).matchAll(/^data: (\{.*)$/gm), ([, json]) => JSON.parse(json!))
    expect(events.length).toBeGreaterThan(2)
    for (const event of events) expectDocumentedEvent(path, event)
  })

  test('answering a field more, a field less or another type would be noticed', async () => {
    const init = { method: 'GET' }
    const url = `${gateway.url}/v1/balance`
    const balance = (await (await caller.get('/v1/balance')).json()) as Record<string, unknown>
    const { pending_nanousd: _, ...less } = balance
    for (const wrong of [less, { ...balance, more: 1 }, { ...balance, balance_nanousd: 1 }])
      await expect(expectDocumented(url, init, Response.json(wrong))).rejects.toThrow('does not have')
    await expect(expectDocumented(url, init, Response.json(balance))).resolves.toBeUndefined()
    await expect(expectDocumented(url, init, Response.json(balance, { status: 400 }))).rejects.toThrow('does not have')
  })
})
