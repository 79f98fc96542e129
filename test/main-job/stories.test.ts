// A real, trained checkpoint through the whole service: its published greedy text, byte for byte.

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { testData } from '../support/data.ts'
import { newCustomer, startTestStack } from '../support/stack.ts'

test('stories260K tells its published story', async () => {
  const expected = JSON.parse(readFileSync(testData('stories260K/expected.json'), 'utf8'))
  const stack = await startTestStack(testData('stories260K'))
  try {
    const { client } = await newCustomer(stack)
    const completion = await client.completions.create({
      model: 'stories260K',
      prompt: '',
      max_tokens: expected.max_tokens,
      temperature: 0,
    })
    expect(completion.choices[0]!.text.trimStart()).toBe(expected.text)
    expect(completion.usage).toMatchObject({ prompt_tokens: 1, completion_tokens: expected.max_tokens })
  } finally {
    await stack.stop()
  }
})
