// The page at /docs: what it is made of comes from here, and in a real browser nothing else does.

import { existsSync } from 'node:fs'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Customer, newCustomer, startTestStack, type TestStack } from '../support/stack.ts'

let stack: TestStack
let customer: Customer

beforeAll(async () => {
  stack = await startTestStack()
  customer = await newCustomer(stack)
})
afterAll(() => stack?.stop())

test('is a page whose scripts are served here, and which may ask nobody else', async () => {
  const page = await fetch(`${stack.gateway_url}/docs`)
  expect(page.headers.get('content-type')).toContain('text/html')
  expect(page.headers.get('content-security-policy')).toContain("connect-src 'self'")
  const scripts = Array.from((await page.text()).matchAll(/<script src="([^"]+)"/g), ([, path]) => path!)
  expect(scripts).toEqual(['/docs/scalar.js', '/docs/reference.js'])
  for (const path of scripts) {
    const script = await fetch(stack.gateway_url + path)
    expect([script.status, script.headers.get('content-type')]).toEqual([200, 'text/javascript; charset=utf-8'])
    await script.body?.cancel()
  }
})

// Debian's; where there is none, this machine has no browser to ask.
const CHROMIUM = '/usr/bin/chromium'

describe.runIf(existsSync(CHROMIUM))('in a browser', () => {
  let browser: Browser
  let page: Page
  const asked: string[] = []
  const wrong: string[] = []

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
    page = await browser.newPage()
    page.on('request', (request) => asked.push(request.url()))
    page.on('pageerror', (error) => wrong.push(String(error)))
    await page.goto(`${stack.gateway_url}/docs`)
  }, 60_000)
  afterAll(() => browser?.close())

  test('it shows the endpoints, and asks no other host', async () => {
    await page.getByText('Answers a conversation.').first().waitFor()
    expect(asked.filter((url) => !url.startsWith(stack.gateway_url) && !url.startsWith('data:'))).toEqual([])
    expect(wrong).toEqual([])
  }, 60_000)

  test('a page of it can stream an answer', async () => {
    const chunks = await page.evaluate(async (api_key) => {
      const answer = await fetch('/v1/chat/completions', {
        method: 'POST',
        headers: { authorization: `Bearer ${api_key}`, 'content-type': 'application/json' },
        body: JSON.stringify({
          model: 'ziya-coding-mini',
          stream: true,
          max_tokens: 8,
          messages: [{ role: 'user', content: 'x' }],
        }),
      })
      return (await answer.text()).split('\n\n').length
    }, customer.api_key)
    expect(chunks).toBeGreaterThan(3)
  }, 60_000)

  test('“Test Request” with a key streams the answer that the page asks for', async () => {
    await page.getByRole('button', { name: 'Test Request (post /v1/completions)' }).click()
    await page.getByPlaceholder('Token').fill(customer.api_key)
    await page.getByRole('button', { name: 'Send Request' }).click()
    await page.getByText('[DONE]').first().waitFor()
    expect(asked.filter((url) => url === `${stack.gateway_url}/v1/completions`)).toHaveLength(1)
    expect(wrong).toEqual([])
  }, 60_000)
})
