// How many clients left before they were answered: no error of anybody's, so it is counted and not logged.

let count = 0

export function countGone(): void {
  count += 1
}

/** Since this isolate began. */
export function goneCount(): number {
  return count
}
