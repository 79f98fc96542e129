// How much of a text's end may still become what is looked for. Runners hold back stop strings by it, answers the beginnings of calls.

/** Length of the longest end of `text` that is a beginning of `wanted`, the whole of it excluded. */
export function heldLength(text: string, wanted: string): number {
  for (let length = Math.min(wanted.length - 1, text.length); length > 0; length--) {
    if (text.endsWith(wanted.slice(0, length))) return length
  }
  return 0
}
