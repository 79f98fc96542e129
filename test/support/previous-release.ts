// The release before this one, as test/previous-release/make.ts kept it: its worker, its node, and its boundary to the database.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { gunzipSync } from 'node:zlib'

const folder = join(import.meta.dirname, '../data/previous-release')

function kept(name: string): string {
  return gunzipSync(readFileSync(join(folder, `${name}.gz`))).toString()
}

export const previousWorker = () => kept('worker.js')

/** A JSON schema of the item and of the answer of each function that the release calls. */
export const previousBoundary = () =>
  JSON.parse(kept('boundary.json')) as Record<string, { item: Shape; answer: Shape }>

/** The part of JSON Schema that those are written in. */
export interface Shape {
  anyOf?: Shape[]
  oneOf?: Shape[]
  type?: string
  const?: unknown
  enum?: unknown[]
  properties?: Record<string, Shape>
  required?: string[]
  additionalProperties?: boolean | Shape
  items?: Shape
}

/** The same schema, of which an answer may have more fields. */
export function openOf<S>(schema: S): S {
  const closes = ['additionalProperties', 'propertyNames']
  return JSON.parse(JSON.stringify(schema), (name, value) => (closes.includes(name) ? undefined : value)) as S
}

/** Its own node for tests, which speaks the protocol of its time. */
export interface PreviousNode {
  options: { refuse?: string }
  /** What the gateway made of each record, by request id. */
  outcomes: Map<string, string>
  calm(): void
  stop(): Promise<void>
}

interface PreviousNodeModule {
  startCannedNode(options: { gateway_url: string; node_secret: string }): Promise<PreviousNode>
}

export async function startPreviousNode(gateway_url: string, node_secret: string): Promise<PreviousNode> {
  const place = mkdtempSync(join(tmpdir(), 'ziya-node-'))
  const file = join(place, 'node.mjs')
  writeFileSync(file, kept('node.js'))
  const { startCannedNode } = (await import(pathToFileURL(file).href)) as PreviousNodeModule
  rmSync(place, { recursive: true })
  return startCannedNode({ gateway_url, node_secret })
}
