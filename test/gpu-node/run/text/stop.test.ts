import { describe, expect, test } from 'vitest'
import { StopMatcher } from '../../../../gpu-node/run/text/stop.ts'
import { seededRandom } from '../../../support/random.ts'

function feed(stops: string[], pieces: string[]) {
  const matcher = new StopMatcher(stops)
  const delivered: string[] = []
  for (const piece of pieces) {
    const { text, stop } = matcher.push(piece)
    delivered.push(text)
    if (stop !== null) return { delivered, stop }
  }
  return { delivered: [...delivered, matcher.flush()], stop: null }
}

test('text before a stop is delivered, the stop and what follows is not', () => {
  expect(feed(['END'], ['one END two'])).toEqual({ delivered: ['one '], stop: 'END' })
})

test('a stop cut into pieces is found and none of it leaks', () => {
  expect(feed(['END'], ['a E', 'N', 'D b'])).toEqual({ delivered: ['a ', '', ''], stop: 'END' })
})

test('a stop that is to be included is delivered whole, and nothing after it', () => {
  const matcher = new StopMatcher(['END', 'STOP'], true)
  expect([matcher.push('a E'), matcher.push('ND b')]).toEqual([
    { text: 'a ', stop: null },
    { text: 'END', stop: 'END' },
  ])
})

test('only the longest possible beginning of a stop is held back', () => {
  expect(feed(['abac'], ['xxaba', 'b', 'z'])).toEqual({ delivered: ['xx', 'ab', 'abz', ''], stop: null })
})

test('what was held back is delivered when the text ends', () => {
  expect(feed(['END'], ['the EN'])).toEqual({ delivered: ['the ', 'EN'], stop: null })
})

test('without stops nothing is held back', () => {
  expect(feed([], ['a', 'b'])).toEqual({ delivered: ['a', 'b', ''], stop: null })
})

test('of several stops the one complete first wins', () => {
  expect(feed(['b', 'abc'], ['xabc'])).toEqual({ delivered: ['xa'], stop: 'b' })
  expect(feed(['c', 'abc'], ['xabc'])).toEqual({ delivered: ['x'], stop: 'abc' })
})

test('however the text is cut, the delivered text is the same', () => {
  const random = seededRandom()
  const letters = (length: number) => Array.from({ length }, () => random.pick(['a', 'b', '\n', '写'])).join('')
  for (let i = 0; i < 5000; i++) {
    const stops = Array.from({ length: 1 + random.below(3) }, () => letters(1 + random.below(4)))
    const text = letters(random.below(30))
    const pieces: string[] = []
    for (let at = 0; at < text.length; at += pieces.at(-1)!.length)
      pieces.push(text.slice(at, at + 1 + random.below(5)))
    const whole = feed(stops, [text])
    const cut = feed(stops, pieces)
    expect({ ...cut, delivered: cut.delivered.join('') }).toEqual({ ...whole, delivered: whole.delivered.join('') })
    expect(stops.some((stop) => whole.delivered.join('').includes(stop))).toBe(false)
  }
})

describe('text that no stop may end in', () => {
  test('may begin one', () => {
    const matcher = new StopMatcher([' r'])
    expect(matcher.pass('    ')).toBe('   ')
    expect(matcher.push('return')).toEqual({ text: '', stop: ' r' })
  })
  test('holds whole ones that count for nothing', () => {
    const matcher = new StopMatcher(['ab', 'xaby'])
    expect(matcher.pass('ab-xab')).toBe('ab-')
    expect(matcher.push('z')).toEqual({ text: 'xabz', stop: null })
    expect(matcher.push('ab')).toEqual({ text: '', stop: 'ab' })
  })
  test('is as if each stop were looked for behind it alone, however it is cut', () => {
    const random = seededRandom()
    const draw = (length: number) => Array.from({ length }, () => random.pick(['a', 'b', 'x'])).join('')
    for (let round = 0; round < 2000; round++) {
      const stops = Array.from({ length: 1 + random.below(3) }, () => draw(1 + random.below(4)))
      const [passed, text] = [draw(random.below(8)), draw(random.below(8))]
      const matcher = new StopMatcher(stops)
      let said = [...passed].map((character) => matcher.pass(character)).join('')
      let stop: string | null = null
      for (const character of text) {
        if (stop !== null) break
        const found = matcher.push(character)
        said += found.text
        stop = found.stop
      }
      if (stop === null) said += matcher.flush()
      expect(said).toBe(cutAt(passed, text, stops))
    }
  })
})

/** The text up to the stop that ends first behind what was passed; of several the longest. */
function cutAt(passed: string, text: string, stops: string[]): string {
  const whole = passed + text
  for (let end = passed.length + 1; end <= whole.length; end++) {
    const lengths = stops.filter((stop) => whole.slice(0, end).endsWith(stop)).map(({ length }) => length)
    if (lengths.length > 0) return whole.slice(0, end - Math.max(...lengths))
  }
  return whole
}
