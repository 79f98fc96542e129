// The model card's table, HumanEval pass@1 of twelve models, with what was measured here beside what was published: Markdown and SVG.

import catalog from '../../models/catalog.json' with { type: 'json' }
import { percent } from '../score.ts'
import type { Result } from './result.ts'

// How the card's models are called here where that is not their id, and elsewhere.
const names: [id: string, name: string, is: RegExp][] = [
  ['Ziya-Coding-34B-v1.0', 'Ziya-Coding-34B-v1.0', /Ziya-Coding-34B/i],
  ['CodeFuse-CodeLlama-34B', 'CodeFuse-CodeLlama-34B', /CodeFuse-CodeLlama-34B/i],
  ['Phind-CodeLlama-34B-v2', 'Phind-CodeLlama-34B-v2', /Phind-CodeLlama-34B-v2/i],
  ['WizardCoder-Python-34B-V1.0', 'WizardCoder-Python-34B-V1.0', /WizardCoder-Python-34B/i],
  ['gpt-4', 'GPT-4', /^gpt-4$/i],
  ['PanGu-Coder2-15B', 'PanGu-Coder2-15B', /PanGu-Coder2/i],
  ['WizardCoder-15B-V1.0', 'WizardCoder-15B-V1.0', /WizardCoder-15B/i],
  ['CodeLlama-34b-Python', 'CodeLlama-34b-Python', /CodeLlama-34b-Python/i],
  ['Ziya-Coding-15B-v1', 'Ziya-Coding-15B-v1', /Ziya-Coding-15B/i],
  ['CodeLlama-34b', 'CodeLlama-34b', /(^|\/)CodeLlama-34b(-hf)?$/i],
  ['gpt-3.5-turbo', 'GPT-3.5', /^gpt-3\.5/i],
  ['StarCoder-15B', 'StarCoder-15B', /StarCoder(-15B|Base)?$/i],
]

// What was published stands in the catalog, with its source.
const published = names
  .map(([id, name, is]) => ({ name, is, percent: publishedOf(id) }))
  .sort((a, b) => b.percent - a.percent)

function publishedOf(id: string): number {
  const row = catalog.models.find((model) => model.id === id)
  if (!row?.humaneval) throw new Error(`the catalog has no published score of ${id}`)
  return row.humaneval.pass_at_1_percent
}

interface Row {
  name: string
  published: number | null
  measured: Result | null
}

export function cardRows(measured: Result[]): Row[] {
  const known = published.map(({ name, is, percent }) => ({
    name,
    published: percent,
    measured: measured.find(({ model }) => is.test(model)) ?? null,
  }))
  const others = measured.filter(({ model }) => !published.some(({ is }) => is.test(model)))
  return [...known, ...others.map((result) => ({ name: result.model, published: null, measured: result }))]
}

export function cardTable(rows: Row[]): string {
  const lines = rows.map(({ name, published, measured }) => {
    const [low, high] = measured?.interval_95.map(percent) ?? []
    const here = measured
      ? `${(100 * measured.pass_at_k[1]!).toFixed(2)} (${measured.passed} of ${measured.total}) | ${low} to ${high}`
      : '| '
    return `| ${name} | ${published?.toFixed(1) ?? ''} | ${here} | ${measured?.preamble ? 'import preamble' : ''} |`
  })
  return `${['| model | published, % | measured, % | 95 % interval | with |', '|---|---|---|---|---|', ...lines].join('\n')}\n`
}

const row_height = 30
const left = 220
const scale = 5 // pixels a percent

export function cardChart(rows: Row[]): string {
  const width = left + 100 * scale + 60
  const height = 50 + rows.length * row_height
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="13" role="img">
<title>HumanEval pass@1: published beside measured</title>
<rect width="${width}" height="${height}" fill="#ffffff"/>
<g fill="#333333"><rect x="${left}" y="12" width="12" height="8" fill="#b8c4d6"/><text x="${left + 18}" y="20">published</text>
<rect x="${left + 100}" y="12" width="12" height="8" fill="#2563a8"/><text x="${left + 118}" y="20">measured, with its 95 % interval</text></g>
${rows.map(chartRow).join('\n')}
</svg>
`
}

function chartRow({ name, published, measured }: Row, i: number): string {
  const y = 36 + i * row_height
  const bar = (value: number, top: number, colour: string) =>
    `<rect x="${left}" y="${top}" width="${(value * scale).toFixed(1)}" height="10" fill="${colour}"/>` +
    `<text x="${(left + 100 * scale + 6).toFixed(1)}" y="${top + 9}" font-size="10" fill="${colour === '#2563a8' ? colour : '#667085'}">${value.toFixed(1)}</text>`
  const here = measured ? 100 * measured.pass_at_k[1]! : null
  return [
    `<text x="${left - 8}" y="${y + 14}" text-anchor="end" fill="#333333">${escaped(name)}</text>`,
    ...(published === null ? [] : [bar(published, y, '#b8c4d6')]),
    ...(here === null ? [] : [bar(here, y + 11, '#2563a8'), whisker(measured!, y + 16)]),
  ].join('')
}

function whisker({ interval_95: [low, high] }: Result, y: number): string {
  const [from, to] = [left + 100 * low * scale, left + 100 * high * scale].map((x) => x.toFixed(1))
  return `<line x1="${from}" x2="${to}" y1="${y}" y2="${y}" stroke="#0b2d52" stroke-width="1.5"/>`
}

const escaped = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
