// An invoice as the database closed it, and the two forms of it that are not JSON. Amounts stay integers of nano-USD; where a person
// reads them, their digits are cut, never rounded.

import type { EntryKind } from '../../contract/public/entry.ts'
import type { Invoice, InvoiceLine } from '../../contract/public/invoice.ts'
import { usd } from '../../contract/usd.ts'
import { csvText } from './csv.ts'

const columns: (keyof InvoiceLine)[] = [
  'kind',
  'model',
  'price_version',
  'input_nanousd_per_token',
  'cached_input_nanousd_per_token',
  'output_nanousd_per_token',
  'count',
  'prompt_tokens',
  'cached_tokens',
  'completion_tokens',
  'amount_nanousd',
]

/** One row a line, between one for the opening and one for the closing balance: the amounts of all but the last add up to the last. */
export function invoiceCsv(invoice: Invoice): string {
  const balance = (kind: string, amount_nanousd: string) =>
    columns.map((name) => (name === 'kind' ? kind : name === 'amount_nanousd' ? amount_nanousd : ''))
  const rows = [
    columns,
    balance('opening_balance', invoice.opening_nanousd),
    ...invoice.lines.map((line) => columns.map((name) => String(line[name] ?? ''))),
    balance('closing_balance', invoice.closing_nanousd),
  ]
  return csvText(rows)
}

const titles: Record<EntryKind, string> = {
  top_up: 'Payments',
  grant: 'Grants',
  grant_expiry: 'Grants that ended',
  usage: 'Usage',
  late_usage: 'Usage, reported late',
  refund: 'Refunds',
  adjustment_credit: 'Adjustments in your favour',
  adjustment_debit: 'Adjustments',
  adjustment_late_debit: 'Adjustments',
}

/** A page that prints: no script, no address outside of it. */
export function invoiceHtml(invoice: Invoice): string {
  const { month, id, account_name, account_id, opening_nanousd, closing_nanousd, due_nanousd } = invoice
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Invoice ${escaped(id)}</title>
<style>${style}</style>
</head>
<body>
<header>
<div><h1>Invoice</h1><p>${escaped(id)}</p></div>
<dl>
<dt>Account</dt><dd>${escaped(account_name)} (${escaped(account_id)})</dd>
<dt>Month</dt><dd>${escaped(month)} (UTC)</dd>
<dt>Closed</dt><dd>${escaped(invoice.closed_at.slice(0, 10))}</dd>
<dt>Ledger</dt><dd>entries ${BigInt(invoice.after_sequence) + 1n} to ${escaped(invoice.last_sequence)}</dd>
</dl>
</header>
<table>
<thead><tr><th>Item</th><th>Count</th><th>Input</th><th>of it cached</th><th>Output</th><th>Amount, USD</th></tr></thead>
<tbody>
<tr class="balance"><th colspan="5">Opening balance</th><td>${dollars(opening_nanousd)}</td></tr>
${invoice.lines.map(lineHtml).join('\n')}
<tr class="balance"><th colspan="5">Closing balance</th><td>${dollars(closing_nanousd)}</td></tr>
</tbody>
</table>
<p class="due">${due_nanousd === '0' ? 'Nothing is due.' : `Due: <strong>$${dollars(due_nanousd)}</strong>`}</p>
<footer>Input and output are counted in tokens. Amounts are exact to a billionth of a dollar.</footer>
</body>
</html>
`
}

function lineHtml(line: InvoiceLine): string {
  const tokens = line.model !== null && line.kind !== 'refund'
  const cell = (text: string) => `<td>${tokens ? grouped(text) : ''}</td>`
  return `<tr><th>${escaped(titles[line.kind])}${ofModel(line)}</th><td>${grouped(line.count)}</td>${cell(line.prompt_tokens)}${cell(line.cached_tokens)}${cell(line.completion_tokens)}<td>${dollars(line.amount_nanousd)}</td></tr>`
}

function ofModel(line: InvoiceLine): string {
  if (line.model === null) return ''
  const prices = [line.input_nanousd_per_token, line.cached_input_nanousd_per_token, line.output_nanousd_per_token]
  const perMillion = prices.map((price) => dollars(String(BigInt(price ?? '0') * 1_000_000n))).join(' / ')
  return ` <small>${escaped(line.model)}, price ${line.price_version}: $${perMillion} per million in / cached / out</small>`
}

/** With the signs of print: grouped digits, a minus of its own width. */
export function dollars(nanousd: string): string {
  const [whole, fraction] = usd(nanousd).split('.')
  return `${grouped(whole!)}.${fraction}`.replace('-', '−')
}

function grouped(digits: string): string {
  return digits.replace(/\B(?=(\d{3})+$)/g, ',')
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
}

const style = `
:root { color-scheme: light; font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff }
body { max-width: 60rem; margin: 2.5rem auto; padding: 0 1.5rem }
header { display: flex; justify-content: space-between; gap: 2rem; flex-wrap: wrap; margin-bottom: 2rem }
h1 { margin: 0; font-size: 2rem; letter-spacing: -.02em }
header p { margin: 0; color: #666 }
dl { display: grid; grid-template-columns: auto auto; gap: .1rem 1rem; margin: 0 }
dt { color: #666 } dd { margin: 0; text-align: right; overflow-wrap: anywhere }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .5rem .6rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: baseline }
th:first-child { text-align: left; font-weight: 500; padding-left: 0 } td:last-child, th:last-child { padding-right: 0 }
thead th { color: #666; font-size: .85rem; font-weight: 500; border-bottom: 1px solid #1a1a1a }
small { display: block; color: #666; font-weight: 400 }
tr.balance > * { font-weight: 600 }
.due { text-align: right; font-size: 1.25rem; margin: 1.5rem 0 }
footer { color: #666; font-size: .85rem; border-top: 1px solid #ddd; padding-top: 1rem; margin-top: 3rem }
@page { size: A4; margin: 18mm }
@media print { body { margin: 0; padding: 0; max-width: none; font-size: 12px } thead { display: table-header-group } tr { break-inside: avoid } }
`
