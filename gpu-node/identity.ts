// Who this node is: its id, and the key that signs its reports. The key is made here and its private half never leaves the machine;
// an operator registers the public one.

import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { replaceFile } from './meter/replace-file.ts'

/** Another one for every machine and every data folder: two nodes that nobody named are two. */
export function defaultNodeId(data_dir: string): string {
  const folder = createHash('sha256').update(resolve(data_dir)).digest('hex').slice(0, 8)
  const host = hostname()
    .replaceAll(/[^A-Za-z0-9._-]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
  return `${host.slice(0, 80) || 'node'}-${folder}`
}

/** The seed of the node's key as its data folder has it; made where there is none. */
export function keptNodeKey(data_dir: string): string {
  const file = join(data_dir, 'node-key')
  mkdirSync(data_dir, { recursive: true })
  if (!existsSync(file)) replaceFile(file, randomBytes(32).toString('base64url'))
  return readFileSync(file, 'utf8').trim()
}
