// The card's table and chart, the difference of two runs, and what is shown of a candidate's words.

import { expect, test } from 'vitest'
import { cardChart, cardRows, cardTable } from '../../eval/report/card.ts'
import { difference, type Result } from '../../eval/report/result.ts'
import catalog from '../../models/catalog.json' with { type: 'json' }
import { oneLine } from '../../sandbox/one-line.ts'

const result = (model: string, passed: Record<string, boolean>): Result => ({
  suite: 'humaneval',
  file: 'HumanEval.jsonl.gz',
  sha256: '0',
  model,
  recipe: null,
  sampling: null,
  preamble: false,
  sandbox: 'bubblewrap',
  finished_at: '2026-01-01T00:00:00.000Z',
  passed: 122,
  total: 164,
  interval_95: [0.672, 0.805],
  pass_at_k: { 1: 122 / 164 },
  tokens_in: 0,
  tokens_out: 0,
  results: Object.fromEntries(
    Object.entries(passed).map(([id, one]) => [id, { passed: one, failure: one ? null : 'x' }]),
  ),
})

test('the table has the twelve models of the card, and what was measured beside what was published', () => {
  const table = cardTable(
    cardRows([result('codefuse-ai/CodeFuse-CodeLlama-34B', {}), result('a <model> of "ours"', {})]),
  )
  expect(table).toContain('| CodeFuse-CodeLlama-34B | 74.4 | 74.39 (122 of 164) | 67.2 % to 80.5 % |')
  expect(table).toContain('| Ziya-Coding-34B-v1.0 | 75.5 |')
  expect(table.trim().split('\n')).toHaveLength(2 + 12 + 1)
})

test('what is published stands in the catalog, and is the table of the card', () => {
  // IDEA-CCNL/Ziya-Coding, README.
  expect(cardRows([]).map(({ name, published }) => [name, published])).toEqual([
    ['Ziya-Coding-34B-v1.0', 75.5],
    ['CodeFuse-CodeLlama-34B', 74.4],
    ['Phind-CodeLlama-34B-v2', 73.8],
    ['WizardCoder-Python-34B-V1.0', 73.2],
    ['GPT-4', 67.0],
    ['PanGu-Coder2-15B', 61.6],
    ['WizardCoder-15B-V1.0', 59.8],
    ['CodeLlama-34b-Python', 53.7],
    ['Ziya-Coding-15B-v1', 50.1],
    ['CodeLlama-34b', 48.8],
    ['GPT-3.5', 48.1],
    ['StarCoder-15B', 33.6],
  ])
  expect(catalog.models.filter((row) => 'humaneval' in row)).toHaveLength(12)
})

test('a base model is not taken for the one that was made from it', () => {
  const measured = (name: string) => cardRows([result(name, {})]).find((row) => row.measured)!.name
  expect(measured('CodeLlama-34b-Python-hf')).toBe('CodeLlama-34b-Python')
  expect(measured('codellama/CodeLlama-34b-hf')).toBe('CodeLlama-34b')
  expect(measured('WizardCoder-Python-34B-V1.0')).toBe('WizardCoder-Python-34B-V1.0')
})

test('the chart is well-formed whatever a model is called', () => {
  const chart = cardChart(cardRows([result('a <model> & "more"', {})]))
  expect(chart).toContain('a &lt;model&gt; &amp; &quot;more&quot;')
  expect(chart.match(/<(rect|line|text|svg|g|title)\b/g)!.length).toBeGreaterThan(30)
})

test('a difference names what is fixed and what is broken, of the problems that both have', () => {
  const before = result('m', { a: true, b: false, c: true })
  expect(difference(result('m', { a: false, b: true, d: true }), before)).toEqual({ fixed: ['b'], broken: ['a'] })
})

test('what a candidate says is one line without control characters', () => {
  expect(oneLine('a\r\n  b\u001b[31m\u202e\u0000')).toBe('a b\\u001b[31m\\u202e\\u0000')
  expect(oneLine('x'.repeat(1000))).toHaveLength(501)
})
