import { expect, test } from 'vitest'
import { rowArrays, samplingOfChoice } from '../../gpu-node/sampling.ts'
import { greedy, makeSequence } from '../support/sequences.ts'

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
  const rows = rowArrays([plain, penalised])
  expect([...rows.temperature]).toEqual([0, 0.5])
  expect([...rows.counters]).toEqual([0, 1])
  expect([...rows.history]).toEqual([5, 6, 7])
  expect([...rows.history_counts]).toEqual([0, 3])
  expect([...rows.output_counts]).toEqual([0, 1])
})

test.each(['repetition_penalty', 'frequency_penalty', 'presence_penalty'])('%s needs a history', (name) => {
  const rows = rowArrays([makeSequence({ prompt: [3, 4], sampling: { ...greedy, [name]: 0.5 } })])
  expect([...rows.history_counts]).toEqual([2])
})
