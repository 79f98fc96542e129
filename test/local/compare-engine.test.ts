// A node's count beside its engine's.

import { expect, test } from 'vitest'
import { isPossible, totalsIn } from '../../local/compare-engine.ts'

test('totals are added up over engines, by vLLM’s names and SGLang’s', () => {
  const vllm = [
    '# TYPE vllm:prompt_tokens_total counter',
    'vllm:prompt_tokens_total{engine="0",model_name="m"} 1.5e3',
    'vllm:prompt_tokens_total{engine="1",model_name="m"} 500',
    'vllm:prompt_tokens_created{engine="0"} 1.7e9',
    'vllm:generation_tokens_total{engine="0"} 7',
  ].join('\n')
  expect(totalsIn(vllm)).toEqual({ prompt: 2000, generation: 7 })
  expect(totalsIn(vllm.replaceAll('vllm:', 'sglang:'))).toEqual({ prompt: 2000, generation: 7 })
  expect(() => totalsIn('up 1')).toThrow('vllm:prompt_tokens_total')
})

test('an engine may be ahead of its node, and a node of its engine by what was under way alone', () => {
  expect(isPossible(5_000_000, 10)).toBe(true)
  expect(isPossible(1000, 1900)).toBe(true)
  expect(isPossible(1000, 2100)).toBe(false)
  expect(isPossible(1_000_000, 1_009_000)).toBe(true)
  expect(isPossible(1_000_000, 1_011_000)).toBe(false)
})
