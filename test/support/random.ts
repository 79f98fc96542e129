// Seeded randomness for tests (mulberry32). The seed is printed, and SEED=… repeats a run.

export interface Random {
  seed: number
  below(bound: number): number
  chance(probability: number): boolean
  pick<T>(items: readonly T[]): T
}

export function seededRandom(seed = Number(process.env.SEED ?? Date.now() % 2 ** 32)): Random {
  console.log(`seed ${seed}`)
  return randomFrom(seed)
}

/** The same, of a seed that somebody else printed. */
export function randomFrom(seed: number): Random {
  let state = seed
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (bound: number) => Math.floor(next() * bound)
  return { seed, below, chance: (probability) => next() < probability, pick: (items) => items[below(items.length)]! }
}

// Scripts, code, spaces, control characters, joiners and astral planes; and now and then any code point at all.
const ALPHABETS = [
  'abcdefghijklmnopqrstuvwxyz ',
  'ABCxyz0123456789_.,;:(){}[]<>=+-*/%!&|^~?@#$\'"\\`',
  ' \t\n\r    ',
  'äöüßéèñçøåœабвгдеж',
  '你好世界快速排序函数列表こんにちは안녕مرحباשלוםनमस्ते',
  '\u0000\u0001\u007f\u0080\u200b\u200d\ufeff\u00a0\u3000\u2028\ufffd',
  '😀🚀🇩🇪👩‍💻𝒳\u{10ffff}e\u0301',
].map((alphabet) => [...alphabet])

/** A well-formed string; U+2581 never occurs, as SentencePiece itself cannot tell it from a space. */
export function randomText(random: Random): string {
  const runs = Array.from({ length: random.below(6) }, () => {
    const alphabet = random.pick(ALPHABETS)
    const draw = () => (random.chance(0.02) ? anyCodePoint(random) : random.pick(alphabet))
    return Array.from({ length: 1 + random.below(12) }, draw).join('')
  })
  return runs.join('')
}

/** Any string that JavaScript can hold: halves of surrogate pairs too, and what bytes give that are no text. */
export function noisyText(random: Random): string {
  const parts = [randomText(random)]
  const bytes = () => Buffer.from(Array.from({ length: random.below(12) }, () => random.below(256)))
  if (random.chance(0.2)) parts.push(String.fromCharCode(0xd800 + random.below(0x800)))
  if (random.chance(0.2))
    parts.push(
      bytes()
        .toString(random.pick(['latin1', 'utf8']))
        .replaceAll('\u2581', ' '),
    )
  if (random.chance(0.2))
    parts.push(random.pick([' ', '\n', '\t', '\r\n', '  \n']).repeat(random.below(20)), randomText(random))
  return random.chance(0.5) ? parts.join('') : parts.reverse().join('')
}

function anyCodePoint(random: Random): string {
  const code = random.below(0x110000 - 0x800)
  const text = String.fromCodePoint(code < 0xd800 ? code : code + 0x800)
  return text === '\u2581' ? ' ' : text
}
