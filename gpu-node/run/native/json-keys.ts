// JSON lets an object name a key twice, and readers differ in which one they keep. Where that matters, this finds it.

/** The first key that one object of this (valid) JSON text has twice, or null. */
export function repeatedKey(json: string): string | null {
  const objects: Set<string>[] = []
  for (let at = 0; at < json.length; at++) {
    const character = json[at]
    if (character === '{') objects.push(new Set())
    else if (character === '}') objects.pop()
    else if (character === '"') {
      const end = stringEnd(json, at)
      if (isKey(json, end)) {
        const key = unescaped(json.slice(at, end))
        const keys = objects.at(-1)!
        if (keys.has(key)) return key
        keys.add(key)
      }
      at = end - 1
    }
  }
  return null
}

function unescaped(text: string): string {
  return text.includes('\\') ? (JSON.parse(text) as string) : text.slice(1, -1)
}

function stringEnd(json: string, start: number): number {
  let at = start + 1
  while (json[at] !== '"') at += json[at] === '\\' ? 2 : 1
  return at + 1
}

function isKey(json: string, end: number): boolean {
  let at = end
  while (' \t\n\r'.includes(json[at]!)) at++
  return json[at] === ':'
}
