// What to tell a client whose base URL is slightly wrong: which path there is.

const SHOWN_LENGTH_MAX = 100

/** Says that a path names nothing, and which of the API's was meant where that can be seen. */
export function saysNothingIsAt(path: string, patterns: string[]): string {
  const meant = nearestPath(path, patterns)
  const says = `There is nothing at ${path.slice(0, SHOWN_LENGTH_MAX)}.`
  return meant ? `${says} Did you mean ${meant}? The base URL of this API ends in /v1.` : says
}

/** The path with one /v1 in front, no empty segment and no slash at its end, where a pattern has it; else null. */
function nearestPath(path: string, patterns: string[]): string | null {
  const segments = path.split('/').filter((segment) => segment !== '')
  const after_version = segments.slice(segments.lastIndexOf('v1') + 1)
  const meant = `/v1/${after_version.join('/')}`
  return meant !== path && patterns.some((pattern) => matches(pattern, after_version)) ? meant : null
}

function matches(pattern: string, after_version: string[]): boolean {
  const expected = pattern.split('/').slice(2)
  return (
    pattern.startsWith('/v1/') &&
    expected.length === after_version.length &&
    expected.every((segment, place) => segment.startsWith(':') || segment === after_version[place])
  )
}
