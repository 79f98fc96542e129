// The example in TypeScript as its reader runs it: a process with two variables.

import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { newCustomer, startTestStack, type TestStack } from '../support/stack.ts'

let stack: TestStack
beforeAll(async () => {
  stack = await startTestStack()
})
afterAll(() => stack?.stop())

test('chat.ts prints code and what it cost', async () => {
  const { api_key } = await newCustomer(stack)
  const file = join(import.meta.dirname, '../../examples/chat.ts')
  const env = { ...process.env, OPENAI_BASE_URL: `${stack.gateway_url}/v1`, OPENAI_API_KEY: api_key }
  const { stdout } = await promisify(execFile)(process.execPath, [file], { env })
  expect(stdout).toContain('def ')
  expect(stdout).toMatch(/\n\d+ tokens in, \d+ tokens out: [1-9]\d* nano-dollars\n$/)
})
