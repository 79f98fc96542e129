import { expect, test } from 'vitest'
import { logprobsOf, rowArrays, samplingOfChoice } from '../../../../gpu-node/run/native/sampling.ts'
import type { Sequence } from '../../../../gpu-node/run/native/sequence.ts'
import { greedy, makeSequence } from '../../../support/sequences.ts'

const rowsOf = (...sequences: Sequence[]) =>
  rowArrays(sequences.map((sequence) => ({ sequence, draft: [], drafted: 0 })))

const parameters = { ...greedy, seed: '5' }

test('every choice draws from its own seed', () => {
  expect([0, 1, 2].map((choice) => samplingOfChoice(parameters, choice).seed)).toEqual([5n, 6n, 7n])
})

test('a seed wraps at 64 bits', () => {
  expect(samplingOfChoice({ ...parameters, seed: '18446744073709551615' }, 1).seed).toBe(0n)
})

test('rows carry their own parameters, and a history only where a penalty needs it', () => {
  const plain = makeSequence({ prompt: [3, 4] })
  const penalised = makeSequence({ prompt: [5, 6], sampling: { ...greedy, temperature: 0.5, presence_penalty: 1 } })
  penalised.tokens.push(7)
  const rows = rowsOf(plain, penalised)
  expect([...rows.temperature]).toEqual([0, 0.5])
  expect([...rows.counters]).toEqual([0, 1])
  expect([...rows.history]).toEqual([5, 6, 7])
  expect([...rows.history_counts]).toEqual([0, 3])
  expect([...rows.output_counts]).toEqual([0, 1])
})

test('rows carry their bias, their bans until enough is drawn, and the alternatives they want', () => {
  const bias = { ids: [7, 8], values: [-1, 100] }
  const limits = { output_tokens_min: 1, stop_ids: new Set([2, 9]) }
  const plain = makeSequence({ prompt: [3] })
  const full = makeSequence({ prompt: [3], ...limits, sampling: { ...greedy, bias, logprobs: 5 } })
  const rows = rowsOf(plain, full)
  expect([...rows.bias_counts]).toEqual([0, 2])
  expect([...rows.bias_ids]).toEqual([7, 8])
  expect([...rows.bias_values]).toEqual([-1, 100])
  expect([...rows.banned_counts]).toEqual([0, 2])
  expect([...rows.banned_ids]).toEqual([2, 9])
  expect([...rows.logprobs]).toEqual([-1, 5])
  full.tokens.push(4)
  expect([...rowsOf(full).banned_counts]).toEqual([0])
})

test('a row behind drafted tokens is as if they were drawn: penalised, counted, and free of bans once they are enough', () => {
  const own = { output_tokens_min: 3, stop_ids: new Set([2]), sampling: { ...greedy, repetition_penalty: 2 } }
  const sequence = makeSequence({ prompt: [5, 6], ...own })
  sequence.tokens.push(7)
  const rows = rowArrays([0, 1, 2].map((drafted) => ({ sequence, draft: [8, 9], drafted })))
  const after = [[], [8], [8, 9]].map((drawn) => {
    const separate = makeSequence({ prompt: [5, 6], ...own })
    separate.tokens.push(7, ...drawn)
    return rowsOf(separate)
  })
  for (const name of ['counters', 'history', 'history_counts', 'output_counts', 'banned_counts', 'banned_ids'] as const)
    expect([...rows[name]], name).toEqual(after.flatMap((alone) => [...alone[name]]))
})

test('log-probabilities are read from the row of their sequence, padding left out', () => {
  const top_ids = new Int32Array(40).fill(-1)
  const top_logprobs = new Float32Array(40).fill(-1)
  top_ids.set([5, 6], 20)
  top_logprobs.set([-0.5, -1.5], 20)
  const logprobs = Float32Array.of(-9, -1.5)
  const result = { tokens: Int32Array.of(1, 6), logprobs, top_ids, top_logprobs, logits: null, seconds: 0 }
  const wanting = (count: number | null) => makeSequence({ prompt: [3], sampling: { ...greedy, logprobs: count } })
  expect(logprobsOf(wanting(3), result, 1)).toEqual({
    logprob: -1.5,
    top: [
      { id: 5, logprob: -0.5 },
      { id: 6, logprob: -1.5 },
    ],
  })
  expect(logprobsOf(wanting(0), result, 0)).toEqual({ logprob: -9, top: [] })
  expect(logprobsOf(wanting(null), result, 0)).toBeNull()
})

test.each(['repetition_penalty', 'frequency_penalty', 'presence_penalty'])('%s needs a history', (name) => {
  const rows = rowsOf(makeSequence({ prompt: [3, 4], sampling: { ...greedy, [name]: 0.5 } }))
  expect([...rows.history_counts]).toEqual([2])
})
