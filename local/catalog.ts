// The catalog as a file: read, checked whole, and published into a database by its owner. The worker has none; it reads the database.

import { randomUUID } from 'node:crypto'
import { readFileSync, unwatchFile, watchFile } from 'node:fs'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'
import { type CatalogModel, catalogFile } from '../contract/public/catalog.ts'
import { byName, type Catalog } from '../gateway/catalog/catalog.ts'
import { askOver, connect } from '../gateway/db/connection.ts'
import type { Answer } from '../gateway/db/functions.ts'
import { clientOf } from './database.ts'

/** That of this release, which whoever runs it may edit. */
export const CATALOG = fileURLToPath(new URL('../models/catalog.json', import.meta.url))

/** The rows of a file; throws what is wrong with the first that is, by its name and field. */
export function readCatalog(file: string): CatalogModel[] {
  const text = textOf(file)
  const parsed = catalogFile.safeParse(jsonIn(text, file))
  if (parsed.success) return parsed.data.models
  throw new Error(`${file}: ${faultOf(parsed.error.issues[0]!, JSON.parse(text))}`)
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new Error(`${file} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}

function jsonIn(text: string, file: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error(`${file} is not JSON`)
  }
}

function faultOf({ path, message }: z.core.$ZodIssue, given: { models?: { id?: unknown }[] }): string {
  const [first, at] = path
  const id = first === 'models' && typeof at === 'number' ? given.models?.[at]?.id : undefined
  const row = typeof id === 'string' ? ` of ${JSON.stringify(id.slice(0, 200))}` : ''
  return `${z.core.toDotPath(path)}${row}: ${message}`
}

/** The models of this release, by their names. */
export function releaseCatalog(): Catalog {
  return byName(readCatalog(CATALOG), null)
}

export interface Publication {
  models: CatalogModel[]
  source: 'release' | 'operator'
  /** Who is said to have changed it. */
  by: string
}

const PUBLISH_MS_MAX = 60_000

/** Publishes it, unless it is the one in force; that of a release is not put in the place of an operator's (`kept`). */
export async function publishCatalog(
  database_url: string,
  { models, source, by }: Publication,
): Promise<Answer<'publish_catalog'>> {
  const { url, ...through } = clientOf(database_url)
  const connection = connect(url, PUBLISH_MS_MAX, through)
  const asker = { operator_id: null, key_id: null, name: by, address: null, request_id: randomUUID() }
  try {
    const [answer] = await askOver(connection, 'publish_catalog', { models, source, by: asker })
    return answer!
  } finally {
    connection.discard()
  }
}

/** Publishes the file of a release. A fault in it changes nothing, and no more does it where an operator published another catalog. */
export async function publishRelease(
  database_url: string,
  { file, by }: { file: string; by: string },
  say: (line: string) => void,
): Promise<void> {
  const models = modelsIn(file, say)
  if (!models) return
  const { decision, version, published_at } = await publishCatalog(database_url, { models, source: 'release', by })
  if (decision === 'published') return
  say(`  the catalog stays number ${version}, which an operator published ${published_at};`)
  say(`  npm run catalog -- ${file} publishes this file in its place`)
}

function modelsIn(file: string, say: (line: string) => void): CatalogModel[] | null {
  try {
    return readCatalog(file)
  } catch (error) {
    say(`  the catalog was not published: ${(error as Error).message}`)
    return null
  }
}

const LOOK_MS = 500

/** Publishes the file whenever it was written anew. */
export function watchCatalog(
  database_url: string,
  { file, by }: { file: string; by: string },
  say: (line: string) => void,
): { stop(): void } {
  let publishing = Promise.resolve()
  const publish = () => {
    publishing = publishing
      .then(() => publishRelease(database_url, { file, by }, say))
      .catch((error) => say(`  the catalog was not published: ${(error as Error).message}`))
  }
  watchFile(file, { interval: LOOK_MS, persistent: false }, publish)
  return { stop: () => unwatchFile(file, publish) }
}
