// An invoice as the database closed it, and a credit note, in the forms that are not JSON. Amounts stay integers of nano-USD; where a
// person reads them, their digits are cut, never rounded.

import type { CreditNote } from '../../contract/public/credit-note.ts'
import type { EntryKind } from '../../contract/public/entry.ts'
import type { Invoice, InvoiceLine } from '../../contract/public/invoice.ts'
import type { Party, TaxLine } from '../../contract/public/tax.ts'
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
  const { month, id, account_id, opening_nanousd, closing_nanousd, due_nanousd } = invoice
  return document(`Invoice ${id}`, [
    head('Invoice', id, [
      ['Account', account_id],
      ['Month', `${month} (UTC)`],
      ['Closed', invoice.closed_at.slice(0, 10)],
      ['Ledger', `entries ${BigInt(invoice.after_sequence) + 1n} to ${invoice.last_sequence}`],
    ]),
    parties(invoice),
    `<table>
<thead><tr><th>Item</th><th>Count</th><th>Input</th><th>of it cached</th><th>Output</th><th>Amount, USD</th></tr></thead>
<tbody>
<tr class="balance"><th colspan="5">Opening balance</th><td>${dollars(opening_nanousd)}</td></tr>
${invoice.lines.map(lineHtml).join('\n')}
<tr class="balance"><th colspan="5">Closing balance</th><td>${dollars(closing_nanousd)}</td></tr>
</tbody>
</table>`,
    taxes(invoice.tax_lines),
    `<p class="due">${due_nanousd === '0' ? 'Nothing is due.' : `Due: <strong>$${dollars(due_nanousd)}</strong>`}</p>
<footer>Input and output are counted in tokens. Amounts are exact to a billionth of a dollar.</footer>`,
  ])
}

/** The same of a credit note. */
export function creditNoteHtml(note: CreditNote): string {
  const { id, invoice_id, account_id, request_id, model, amount_nanousd } = note
  return document(`Credit note ${id}`, [
    head('Credit note', id, [
      ['Corrects', invoice_id],
      ['Account', account_id],
      ['Made', note.created_at.slice(0, 10)],
    ]),
    parties(note),
    `<table>
<thead><tr><th>Item</th><th>Amount, USD</th></tr></thead>
<tbody>
<tr><th>${request_id === null ? 'Correction' : 'Refund'}${model === null ? '' : ` <small>${escaped(model)}, request ${escaped(request_id ?? '')}</small>`}</th><td>${dollars(amount_nanousd)}</td></tr>
</tbody>
</table>`,
    taxes(note.tax_lines),
    '<footer>Amounts are exact to a billionth of a dollar.</footer>',
  ])
}

function document(title: string, parts: string[]): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>${style}</style>
</head>
<body>
${parts.filter((part) => part !== '').join('\n')}
</body>
</html>
`
}

function head(title: string, id: string, facts: [name: string, value: string][]): string {
  const rows = facts.map(([name, value]) => `<dt>${name}</dt><dd>${escaped(value)}</dd>`)
  return `<header>\n<div><h1>${title}</h1><p>${escaped(id)}</p></div>\n<dl>\n${rows.join('\n')}\n</dl>\n</header>`
}

function parties({ seller, buyer }: { seller: Party | null; buyer: Party }): string {
  const one = (title: string, party: Party) => {
    const lines = [party.name, party.address, party.country, party.tax_id && `Tax id ${party.tax_id}`]
    const shown = lines.filter((line) => line !== null).map((line) => escaped(line).replaceAll('\n', '<br>'))
    return `<div><h2>${title}</h2><p>${shown.join('<br>')}</p></div>`
  }
  return `<section>${seller ? one('Seller', seller) : ''}${one('Buyer', buyer)}</section>`
}

function taxes(lines: TaxLine[]): string {
  if (lines.length === 0) return ''
  const rows = lines.map(
    ({ name, rate_ppm, net_nanousd, tax_nanousd, gross_nanousd, note }) =>
      `<tr><th>${escaped(name)} ${percent(rate_ppm)}${note === null ? '' : ` <small>${escaped(note)}</small>`}</th><td>${dollars(net_nanousd)}</td><td>${dollars(tax_nanousd)}</td><td>${dollars(gross_nanousd)}</td></tr>`,
  )
  return `<table>
<thead><tr><th>Tax that is in the amounts</th><th>Net, USD</th><th>Tax, USD</th><th>Gross, USD</th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table>`
}

/** 190000 millionths are 19 %. */
function percent(ppm: number): string {
  const digits = `${Math.floor(ppm / 10_000)}.${String(ppm % 10_000).padStart(4, '0')}`
  return `${digits.replace(/\.?0+$/, '')} %`
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
section { display: flex; gap: 3rem; flex-wrap: wrap; margin-bottom: 2rem } section p { margin: 0; overflow-wrap: anywhere }
h2 { margin: 0; font-size: .85rem; font-weight: 500; color: #666 }
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
