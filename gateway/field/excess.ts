// What no body of ours can need, found in its text: before it is parsed, and long before a schema looks at each member and has something to
// say of each. One pass by hand, which ends at the first excess: an expression over strings would take quadratic time on quotes that
// never end.

const DEPTH_MAX = 32
const MEMBERS_MAX = 16_384 // of all arrays and objects together
// The one field that may be longer: the token ids of prompts.
const IDS_FIELD = 'prompt'
const IDS_MAX = 1 << 19

const [QUOTE, BACKSLASH, COMMA] = [0x22, 0x5c, 0x2c]
const [ARRAY, ARRAY_END, OBJECT, OBJECT_END] = [0x5b, 0x5d, 0x7b, 0x7d]
const [ZERO, NINE] = [0x30, 0x39]

export function excessOf(text: string): 'depth' | 'members' | null {
  let [members, ids, depth] = [0, 0, 0]
  let is_ids_field = false
  for (let i = 0; i < text.length; i += 1) {
    const c = text.charCodeAt(i)
    if (c === COMMA) {
      if (is_ids_field && depth > 1 && isDigitAfter(text, i)) ids += 1
      else members += 1
      if (members > MEMBERS_MAX || ids > IDS_MAX) return 'members'
    } else if (c === QUOTE) {
      const end = endOfString(text, i)
      if (depth === 1) is_ids_field = end - i - 1 === IDS_FIELD.length && text.startsWith(IDS_FIELD, i + 1)
      i = end
    } else if (c === ARRAY || c === OBJECT) {
      depth += 1
      if (depth > DEPTH_MAX) return 'depth'
    } else if (c === ARRAY_END || c === OBJECT_END) {
      depth -= 1
    }
  }
  return null
}

/** The place of the quote that ends it, or the end of the text. */
function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i += 1) {
    const c = text.charCodeAt(i)
    if (c === BACKSLASH) i += 1
    else if (c === QUOTE) return i
  }
  return text.length
}

function isDigitAfter(text: string, comma: number): boolean {
  let i = comma + 1
  while (text.charCodeAt(i) <= 0x20) i += 1
  const c = text.charCodeAt(i)
  return c >= ZERO && c <= NINE
}
