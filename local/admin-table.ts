// An answer of the API for the eye: a list as columns that line up, one object as names and values. Amounts, which travel as integers
// of nano-USD, are shown in dollars with every digit that counts.

import { usd } from '../contract/usd.ts'

type Row = Record<string, unknown>

export function table(answer: object, columns?: string[]): string {
  const rows = (answer as { object?: string; data?: Row[] }).data
  if (!Array.isArray(rows)) return record(answer as Row)
  if (rows.length === 0) return 'nothing'
  const names = columns ?? Object.keys(rows[0]!).filter((name) => name !== 'object')
  const more = (answer as { has_more?: boolean; last_id?: string }).has_more
  const last_id = (answer as { last_id?: string }).last_id
  return [
    lines([names.map(title), ...rows.map((row) => names.map((name) => shown(name, row[name])))], names),
    ...(more ? [`more: --after ${last_id}`] : []),
  ].join('\n')
}

function record(answer: Row): string {
  const parts: string[] = []
  const plain = Object.entries(answer).filter(([name, value]) => name !== 'object' && !isRows(value))
  const width = Math.max(...plain.map(([name]) => title(name).length))
  parts.push(plain.map(([name, value]) => `${title(name).padEnd(width)}  ${shown(name, value)}`).join('\n'))
  for (const [name, value] of Object.entries(answer))
    if (isRows(value)) parts.push(`\n${title(name)}\n${table({ data: value })}`)
  return parts.join('\n')
}

function isRows(value: unknown): value is Row[] {
  return Array.isArray(value) && value.length > 0 && value.every((row) => row !== null && typeof row === 'object')
}

function lines(cells: string[][], names: string[]): string {
  const widths = names.map((_, i) => Math.max(...cells.map((row) => columnsOf(row[i]!))))
  const right = names.map((name, i) => isMoney(name) || cells.slice(1).every((row) => /^-?[\d,.]*$/.test(row[i]!)))
  return cells
    .map((row) =>
      row
        .map((cell, i) => pad(cell, widths[i]!, right[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function pad(text: string, width: number, right: boolean): string {
  const space = ' '.repeat(Math.max(0, width - columnsOf(text)))
  return right ? space + text : text + space
}

// Names may be of any script: a wide character takes two columns of a terminal.
function columnsOf(text: string): number {
  let count = 0
  for (const c of text)
    count += /\p{Script=Han}|\p{Script=Hangul}|\p{Script=Hiragana}|\p{Script=Katakana}|\p{Emoji_Presentation}/u.test(c)
      ? 2
      : 1
  return count
}

function isMoney(name: string): boolean {
  return /_nanousd(_|$)/.test(name)
}

function title(name: string): string {
  return name.replace('_nanousd_per_token', '_usd_per_million').replace('_nanousd', '_usd')
}

function shown(name: string, value: unknown): string {
  if (value === null || value === undefined) return '–'
  if (Array.isArray(value)) return value.length === 0 ? '–' : value.map((item) => shown(name, item)).join(',')
  if (typeof value === 'object') return JSON.stringify(value)
  const text = printable(String(value))
  if (!isMoney(name) || !/^-?\d+$/.test(text)) return text
  return usd(name.includes('_per_token') ? BigInt(text) * 1_000_000n : BigInt(text))
}

// What a terminal would obey and not show.
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '\ufffd')
}
