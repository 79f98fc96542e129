// A row as it travels in JSON: ids and amounts are decimal strings, because a bigint may not fit a JavaScript number, and moments are
// ISO 8601, in UTC, to the millisecond.

export type PublicRow<R> = { [F in keyof R]: PublicValue<R[F]> }
type PublicValue<V> = V extends bigint | Date ? string : V

export function publicRow<R extends object>(row: R): PublicRow<R> {
  const fields = Object.entries(row).map(([name, value]) => [name, publicValue(value)])
  return Object.fromEntries(fields) as PublicRow<R>
}

function publicValue(value: unknown): unknown {
  if (typeof value === 'bigint') return String(value)
  return value instanceof Date ? value.toISOString() : value
}
