// Dollars of nano-USD: exact, an integer whose digits are cut and never rounded.

const DECIMALS = 9

/** Trailing zeros go, down to `decimals_min`: 1500000000 is 1.50. */
export function usd(nanousd: string | bigint, decimals_min = 2): string {
  const text = String(nanousd)
  const sign = text.startsWith('-') ? '-' : ''
  const digits = text.slice(sign.length).padStart(DECIMALS + 1, '0')
  const fraction = digits.slice(-DECIMALS).replace(new RegExp(`0{0,${DECIMALS - decimals_min}}$`), '')
  return `${sign}${digits.slice(0, -DECIMALS)}.${fraction}`
}
