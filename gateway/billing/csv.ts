// CSV by RFC 4180; a text that a spreadsheet would run as a formula is led by a quote.

export function csvText(rows: string[][]): string {
  return rows.map((row) => `${row.map(csvField).join(',')}\r\n`).join('')
}

function csvField(text: string): string {
  const isFormula = /^[=+@\t\r\n-]/.test(text) && !/^-\d+$/.test(text) // a negative amount is none
  const safe = isFormula ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
