import { expect, test } from 'vitest'
import { unpackRows } from '../../../../gpu-node/run/native/row-table.ts'
import { logprobsOf, packRows, type Row, samplingOfChoice } from '../../../../gpu-node/run/native/sampling.ts'
import type { Sequence } from '../../../../gpu-node/run/native/sequence.ts'
import { greedy, makeSequence } from '../../../support/sequences.ts'

/** A row where it is the only one. */
const withoutPlaces = ({ bias: _, banned: __, mask: ___, ...row }: ReturnType<typeof packedRows>[number]) => row

/** The rows as the engine reads them, each with its own part of every list. */
function packedRows(rows: Row[]) {
  const { rows: bytes, history, bias_ids, bias_values, banned_ids } = packRows(rows)
  const part = (list: Int32Array | Float32Array, { begin, count }: { begin: number; count: number }) =>
    Array.from(list.subarray(begin, begin + count))
  return unpackRows(bytes).map((row) => ({
    ...row,
    history: part(history, row.history),
    bias_ids: part(bias_ids, row.bias),
    bias_values: part(bias_values, row.bias),
    banned_ids: part(banned_ids, row.banned),
  }))
}

const rowsOf = (...sequences: Sequence[]) =>
  packedRows(sequences.map((sequence, token) => ({ sequence, draft: [], drafted: 0, token })))

const parameters = { ...greedy, seed: '5' }

test('every choice draws from a seed of its own, which no choice of another seed has', () => {
  expect(samplingOfChoice(parameters, 0).seed).toBe(5n)
  const seeds = Array.from({ length: 64 }, (_, i) => i).flatMap((seed) =>
    Array.from({ length: 128 }, (_, choice) => samplingOfChoice({ ...parameters, seed: String(seed) }, choice).seed),
  )
  expect(new Set(seeds).size).toBe(64 * 128)
  expect(seeds.every((seed) => seed === BigInt.asUintN(64, seed))).toBe(true)
})

test('a seed wraps at 64 bits', () => {
  expect(samplingOfChoice({ ...parameters, seed: '18446744073709551621' }, 3).seed).toBe(
    samplingOfChoice(parameters, 3).seed,
  )
})

test('rows carry their own parameters, and a history only where a penalty needs it', () => {
  const plain = makeSequence({ prompt: [3, 4] })
  const penalised = makeSequence({ prompt: [5, 6], sampling: { ...greedy, temperature: 0.5, presence_penalty: 1 } })
  penalised.tokens.push(7)
  const rows = rowsOf(plain, penalised)
  expect(rows.map(({ token }) => token)).toEqual([0, 1])
  expect(rows.map(({ temperature }) => temperature)).toEqual([0, 0.5])
  expect(rows.map(({ counter }) => counter)).toEqual([0, 1])
  expect(rows.map(({ history }) => history)).toEqual([[], [5, 6, 7]])
  expect(rows.map(({ output_tokens }) => output_tokens)).toEqual([0, 1])
})

test('rows carry their bias, their bans until enough is drawn, and the alternatives they want', () => {
  const bias = { ids: [7, 8], values: [-1, 100] }
  const limits = { output_tokens_min: 1, stop_ids: new Set([2, 9]) }
  const plain = makeSequence({ prompt: [3] })
  const full = makeSequence({ prompt: [3], ...limits, sampling: { ...greedy, bias, logprobs: 5 } })
  const rows = rowsOf(plain, full)
  expect(rows.map(({ bias_ids }) => bias_ids)).toEqual([[], [7, 8]])
  expect(rows.map(({ bias_values }) => bias_values)).toEqual([[], [-1, 100]])
  expect(rows.map(({ banned_ids }) => banned_ids)).toEqual([[], [2, 9]])
  expect(rows.map(({ logprobs }) => logprobs)).toEqual([-1, 5])
  full.tokens.push(4)
  expect(rowsOf(full)[0]!.banned_ids).toEqual([])
})

test('a row behind drafted tokens is as if they were drawn: penalised, counted, and free of bans once they are enough', () => {
  const own = { output_tokens_min: 3, stop_ids: new Set([2]), sampling: { ...greedy, repetition_penalty: 2 } }
  const sequence = makeSequence({ prompt: [5, 6], ...own })
  sequence.tokens.push(7)
  const rows = packedRows([0, 1, 2].map((drafted) => ({ sequence, draft: [8, 9], drafted, token: 0 })))
  const after = [[], [8], [8, 9]].map((drawn) => {
    const separate = makeSequence({ prompt: [5, 6], ...own })
    separate.tokens.push(7, ...drawn)
    return rowsOf(separate)[0]!
  })
  expect(rows.map(({ counter }) => counter)).toEqual([1, 2, 3])
  expect(rows.map(withoutPlaces)).toEqual(after.map(withoutPlaces))
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
  expect(rows[0]!.history).toEqual([3, 4])
})
