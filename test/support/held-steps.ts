// Steps of a real node that a test holds: what is to be in mid-generation stays there, however fast the node is and however slow the
// test. The other half, held-engine.ts, is loaded ahead of the node.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface HeldSteps {
  /** Of the nodes that are started with it. */
  environment: { NODE_OPTIONS: string; STEPS_FILE: string }
  /** So many steps more are begun, and then none. */
  allow(steps: number): void
  /** As many as there are to do. */
  letGo(): void
  remove(): void
}

export function holdSteps(): HeldSteps {
  const folder = mkdtempSync(join(tmpdir(), 'ziya-steps-'))
  const file = join(folder, 'allowed')
  const preload = join(import.meta.dirname, 'held-engine.ts')
  let allowances = 0
  const write = (steps: number | 'all') => writeFileSync(file, `${++allowances} ${steps}`)
  write('all')
  return {
    environment: { NODE_OPTIONS: `--import=${preload}`, STEPS_FILE: file },
    allow: write,
    letGo: () => write('all'),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}
