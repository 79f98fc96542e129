// What there is of a JSON object whose text may have been cut: the members, and those of members, that came whole.

const CLOSING: Record<string, string> = { '{': '}', '[': ']' }

export function membersOf(text: string): Record<string, unknown> {
  const closers: string[] = [] // of what is open, the innermost first
  let whole = '{}'
  let in_string = false
  for (let i = 0; i < text.length; i += 1) {
    const character = text[i]!
    if (in_string) {
      if (character === '\\') i += 1
      else if (character === '"') in_string = false
    } else if (character === '"') in_string = true
    else if (character in CLOSING) {
      closers.unshift(CLOSING[character]!)
      whole = text.slice(0, i + 1) + closers.join('')
    } else if (character === closers[0]) {
      closers.shift()
      whole = text.slice(0, i + 1) + closers.join('')
    } else if (character === ',') whole = text.slice(0, i) + closers.join('')
  }
  return JSON.parse(whole) as Record<string, unknown>
}
