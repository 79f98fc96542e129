import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { GenerateRequest, PromptPart } from '../../../contract/internal/generation.ts'
import { costCeiling } from '../../../gateway/generate/cost-ceiling.ts'
import { repairedText, verification } from '../../../gateway/generate/verification.ts'
import { repairPrompt } from '../../../gpu-node/run/verified/program.ts'

const CONTEXT = 1000

function ceiling(
  prompts: PromptPart[][],
  own: Partial<Pick<GenerateRequest, 'n' | 'max_tokens' | 'truncate_prompt' | 'verify'>> = {},
) {
  return costCeiling({ prompts, n: 1, max_tokens: 1, ...own } as GenerateRequest, CONTEXT)
}

test('text counts its bytes and one more, a special one, ids themselves', () => {
  expect(ceiling([[{ special: '<s>' }, { text: 'aä€😀' }]]).prompt_tokens_max).toBe(1 + 1 + 2 + 3 + 4 + 1)
  expect(ceiling([[{ tokens: [1, 2, 3] }]]).prompt_tokens_max).toBe(3)
})

test('what stands between two texts counts them both, and the three marks', () => {
  expect(ceiling([[{ infill: { before: 'aä', after: '😀' } }]]).prompt_tokens_max).toBe(1 + 2 + 4 + 2 + 3)
})

test('an answer that is judged counts with its text, and what their format may add', () => {
  expect(ceiling([[{ judged: { query: 'aä', answer: '😀' } }]]).prompt_tokens_max).toBe(1 + 2 + 4 + 64)
})

test('a prompt never counts more than the context, for a longer one is refused', () => {
  expect(ceiling([[{ text: 'x'.repeat(5000) }], [{ text: 'ab' }]]).prompt_tokens_max).toBe(CONTEXT + 3)
})

test('a chat that its node is to format counts the context, for what its format adds is not known', () => {
  const chat = [{ chat: [{ role: 'user' as const, text: 'a' }], is_continued: false }]
  expect(ceiling([chat]).prompt_tokens_max).toBe(CONTEXT)
  expect(ceiling([chat], { truncate_prompt: 10 }).prompt_tokens_max).toBe(10)
})

test('a prompt that is truncated counts no more than what is kept of it', () => {
  const prompts = [[{ text: 'x'.repeat(5000) }], [{ text: 'ab' }]]
  expect(ceiling(prompts, { truncate_prompt: 10 }).prompt_tokens_max).toBe(10 + 3)
  expect(ceiling(prompts, { truncate_prompt: 5000 }).prompt_tokens_max).toBe(CONTEXT + 3)
  expect(ceiling(prompts, { truncate_prompt: 'to_fit' }).prompt_tokens_max).toBe(CONTEXT + 3)
})

test('a prompt alone has no output', () => {
  expect(ceiling([[{ text: 'a' }]], { n: 3, max_tokens: 0 }).request_output_tokens_max).toBe(0)
})

test('output counts every choice of every prompt', () => {
  const prompts = [[{ text: 'a' }], [{ text: 'b' }]]
  expect(ceiling(prompts, { n: 3, max_tokens: 7 }).request_output_tokens_max).toBe(42)
})

test('no text makes more tokens than its ceiling, even where every byte is one', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 80 }), (text) => {
      const tokens = new TextEncoder().encode(text).length + 1 // byte fallback throughout, after the leading space
      expect(ceiling([[{ text }]]).prompt_tokens_max).toBeGreaterThanOrEqual(tokens)
    }),
  )
})

test('candidates count their outputs in each attempt, and attempts after the first their prompts', () => {
  const around = { before: 'ab', after: '' }
  const asked = { language: 'python' as const, tests: 'assert f()', candidates: 3, attempts: 2 }
  const repair = [{ special: '<s>' }, { text: repairedText(asked, around) }]
  const verify = verification(asked, { around, repair }, { max_tokens: 10, context_tokens: CONTEXT * 10 })
  const told = ceiling([[{ text: 'ab' }]], { max_tokens: 10, verify })
  expect(told.request_output_tokens_max).toBe(3 * 2 * 10)
  expect(verify.repair_answer_bytes_max).toBe(40)
  expect(told.prompt_tokens_max).toBe(3 + verify.repair_tokens_max)
  const longest = repairPrompt(verify, { answer: 'ä'.repeat(99), failure: '国'.repeat(999) })
  expect(verify.repair_tokens_max).toBeGreaterThanOrEqual(ceiling([longest]).prompt_tokens_max)
})

test('the prompt of an attempt never counts more than the context', () => {
  const repair = [{ chat: [{ role: 'user' as const, text: 'a' }], is_continued: false }]
  const asked = { language: 'go' as const, tests: 'x', attempts: 4 }
  const verify = verification(asked, { around: null, repair }, { max_tokens: 10, context_tokens: CONTEXT })
  expect(ceiling([[{ text: 'ab' }]], { verify }).prompt_tokens_max).toBe(3 + 3 * CONTEXT)
})
