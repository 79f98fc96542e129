// Fields of a published line, refused by name where they are missing or of another kind.

import type { Line } from './suite.ts'

export function text(line: Line, ...names: string[]): string {
  const found = names.find((name) => typeof line[name] === 'string')
  if (found === undefined) throw new Error(`it has no text in ${names.join(' or ')}`)
  return line[found] as string
}

export function texts(line: Line, name: string): string[] {
  const value = line[name]
  if (!Array.isArray(value) || !value.every((one) => typeof one === 'string'))
    throw new Error(`${name} is no list of texts`)
  return value
}
