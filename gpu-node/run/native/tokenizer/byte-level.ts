// Byte-level BPE, as GPT-2 brought it: a text falls into words, whose UTF-8 bytes are spelled in an alphabet of 256 letters, and pieces are
// texts of that alphabet. So nothing is unknown, and no word's tokens depend on another's. This file has the alphabet and the words.

/** How a text falls into words before its bytes merge: by one splitter after the other, each of which splits what those before it left. */
export type WordRule = readonly [Splitter, ...Splitter[]]

export type Splitter = keyof typeof SPLITTERS

// ── words

// What Unicode 17 calls letters, numerals and punctuation, and the expressions of Hugging Face's tokenizers 0.23, which know Unicode 16, do not.
const NEWER_LETTERS = String.raw`\u088f\u0c5c\u0cdc\ua7ce\ua7cf\ua7d2\ua7d4\ua7f1\u{10940}-\u{10959}\u{10ec5}-\u{10ec7}\u{11db0}-\u{11ddb}\u{16ea0}-\u{16eb8}\u{16ebb}-\u{16ed3}\u{16ff2}\u{16ff3}\u{187f8}-\u{187ff}\u{18d09}-\u{18d1e}\u{18d80}-\u{18df2}\u{1e6c0}-\u{1e6de}\u{1e6e0}-\u{1e6e2}\u{1e6e4}\u{1e6e5}\u{1e6e7}-\u{1e6ed}\u{1e6f0}-\u{1e6f4}\u{1e6fe}\u{1e6ff}\u{2b73a}-\u{2b73f}\u{2cea2}-\u{2cead}\u{323b0}-\u{33479}`
const NEWER_NUMERALS = String.raw`\u{11de0}-\u{11de9}\u{16ff4}-\u{16ff6}`
const NEWER_PUNCTUATION = String.raw`\u{10ed0}`
const SPACE = String.raw`\p{White_Space}` // not JavaScript's \s, which has U+FEFF and lacks U+0085
const LETTER = String.raw`[\p{L}--[${NEWER_LETTERS}]]`
const NUMERAL = String.raw`[\p{N}--[${NEWER_NUMERALS}]]`
const OTHER = String.raw`[[^${SPACE}\p{L}\p{N}][${NEWER_LETTERS}${NEWER_NUMERALS}]]`
const PUNCTUATION = String.raw`[\p{P}--[${NEWER_PUNCTUATION}]]`
const SPACES = `${SPACE}+(?!${String.raw`\P{White_Space}`})|${SPACE}+`

const found = (expression: RegExp) => (text: string) => text.match(expression) ?? []
/** What is found, and what lies between; the expression is a group. */
const isolated = (expression: RegExp) => (text: string) => text.split(expression).filter((word) => word !== '')

const SPLITTERS = {
  gpt2: found(new RegExp(`'s|'t|'re|'ve|'m|'ll|'d| ?${LETTER}+| ?${NUMERAL}+| ?${OTHER}+|${SPACES}`, 'gv')),
  llama3: found(
    new RegExp(
      `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[[^\r\n\\p{L}\\p{N}][${NEWER_LETTERS}${NEWER_NUMERALS}]]?${LETTER}+|${NUMERAL}{1,3}` +
        `| ?${OTHER}+[\r\n]*|${SPACE}*[\r\n]+|${SPACES}`,
      'gv',
    ),
  ),
  line_ends: found(/[\r\n]|[^\r\n]+/g),
  letters: isolated(new RegExp(`(${SPACE}?${LETTER}+)`, 'v')),
  punctuation: isolated(new RegExp(`(${SPACE}?${PUNCTUATION}+)`, 'v')),
  east_asian: found(/[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+|[^\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+/g),
  numerals_each_alone: found(/\p{N}|\P{N}+/gu),
  numerals_in_runs: found(/\p{N}+|\P{N}+/gu),
} as const

/** The words of a well-formed text, which together are the text. */
export function wordsOf(text: string, [first, ...others]: WordRule): string[] {
  return others.reduce((words, splitter) => words.flatMap(SPLITTERS[splitter]), SPLITTERS[first](text))
}

const KINDS = [
  { kind: 'letter', is: new RegExp(LETTER, 'v') },
  { kind: 'numeral', is: new RegExp(NUMERAL, 'v') },
  { kind: 'space', is: new RegExp(SPACE, 'v') },
] as const

/** What the rule sees in a character. */
export function kindOf(character: string): 'letter' | 'numeral' | 'space' | 'other' {
  return KINDS.find(({ is }) => is.test(character))?.kind ?? 'other'
}

/**
 * Whether a word surely ends before this place of a well-formed text, whatever is around it, by any rule: a run of letters or of numerals
 * has ended; and by GPT-2's also one of other characters, where no contraction such as 's may begin before it. (A run of spaces may end
 * one earlier.)
 */
export function isBetweenWords(text: string, at: number, rule: WordRule): boolean {
  const behind = text.codePointAt(at)!
  if (isLowSurrogate(behind)) return false
  const begin = isLowSurrogate(text.charCodeAt(at - 1)) ? at - 2 : at - 1
  const before = text.slice(begin, at)
  const left = kindOf(before)
  if (left === 'space' || left === kindOf(String.fromCodePoint(behind))) return false
  return left !== 'other' || (rule.includes('gpt2') && before !== "'")
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff
}

// ── the alphabet

// A byte that Latin-1 prints is that letter; the others, in order, are the letters from U+0100 on.
const LETTERS = lettersOfBytes()
const BYTES = new Map(LETTERS.map((letter, byte) => [letter, byte]))

function lettersOfBytes(): string[] {
  let others = 0x100
  return Array.from({ length: 256 }, (_, byte) => {
    const is_printed = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
    return String.fromCharCode(is_printed ? byte : others++)
  })
}

/** How a byte is spelled in pieces. */
export function letterOf(byte: number): string {
  return LETTERS[byte]!
}

/** A text as pieces spell it. */
export function spelledBytes(text: string): string {
  let letters = ''
  for (const byte of Buffer.from(text, 'utf8')) letters += LETTERS[byte]!
  return letters
}

/** The bytes that a piece stands for. One that has another letter was not made of bytes, and stands for itself. */
export function bytesOfPiece(piece: string): readonly number[] {
  const bytes = Array.from(piece, (letter) => BYTES.get(letter))
  return bytes.every((byte) => byte !== undefined) ? bytes : [...Buffer.from(piece, 'utf8')]
}
