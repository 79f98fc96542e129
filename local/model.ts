// What the gateway must know of a model folder: a folder with the name of a catalog row takes that row, any other is served
// under its own name.

import { existsSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { type TemplateName, templateNames } from '../contract/public/catalog.ts'
import type { CatalogModel } from '../gateway/catalog/catalog.ts'
import type { LocalModel } from '../gateway/env.ts'
import { readChatTemplate } from '../gpu-node/run/native/load/chat-template-file.ts'
import { releaseCatalog } from './catalog.ts'

export interface FolderModel {
  id: string
  /** What the catalog must be told; null where its row already says all of it. */
  local_model: LocalModel | null
  /** Which prompt format was chosen, and why. */
  explanation: string
}

/** Throws where the folder is not a model's. `template` is the caller's choice for a model that is in no catalog. */
export function readModel(dir: string, template: string | null): FolderModel {
  const file = join(dir, 'config.json')
  if (!existsSync(file)) throw new Error(`${dir} is not a model folder: it has no config.json`)
  const id = basename(dir)
  const context = contextOf(file)
  const row = releaseCatalog().get(id)
  if (!row) return { id, ...unlisted(dir, context, template) }
  if (row.template === 'folder') return { id, ...unformatted(id, context, template) }
  requireTemplate(row, template)
  const explanation = `template ${row.template}, as the catalog says`
  if (context >= row.context_tokens) return { id, local_model: null, explanation }
  return { id, local_model: { id, template: row.template, context }, explanation }
}

/** The format of a row that has none is its folder's; who knows it says so. */
function unformatted(id: string, context: number, wanted: string | null): Omit<FolderModel, 'id'> {
  const template = wanted ? knownTemplate(wanted) : 'folder'
  const reason = wanted ? 'as --template says' : 'the one that the folder has, if any: none is published'
  return { local_model: { id, template, context }, explanation: `template ${template}, ${reason}` }
}

/** A row that has a format has no other. */
export function requireTemplate({ id, template }: CatalogModel, wanted: string | null): void {
  if (wanted && wanted !== template)
    throw new Error(`--template ${wanted} does not fit: the catalog serves ${id} with the template ${template}`)
}

function unlisted(dir: string, context: number, wanted: string | null): Omit<FolderModel, 'id'> {
  const id = basename(dir)
  const { template, reason } = wanted
    ? { template: knownTemplate(wanted), reason: 'as --template says' }
    : guess(id, dir)
  return { local_model: { id, template, context }, explanation: `template ${template}, ${reason}` }
}

export function knownTemplate(name: string): TemplateName {
  const found = templateNames.find((template) => template === name)
  if (!found) throw new Error(`--template ${name} is not one of ${templateNames.join(', ')}`)
  return found
}

function guess(id: string, dir: string): { template: TemplateName; reason: string } {
  const reason = "because of the folder's name; --template chooses another"
  if (/ziya-coding/i.test(id)) return { template: 'ziya-coding', reason }
  if (/ziya-llama/i.test(id)) return { template: 'ziya-llama', reason }
  if (/wizardcoder/i.test(id)) return { template: 'wizardcoder', reason }
  if (readChatTemplate(dir) !== null)
    return { template: 'folder', reason: 'the one that the folder has; --template chooses another' }
  return { template: 'plain', reason: `because ${id} is not in the catalog; --template chooses another` }
}

function contextOf(config_file: string): number {
  try {
    const { max_position_embeddings, max_sequence_length, n_positions } = JSON.parse(readFileSync(config_file, 'utf8'))
    return max_position_embeddings ?? max_sequence_length ?? n_positions
  } catch {
    throw new Error(`${config_file} is not JSON; if Git LFS holds the folder's files, run "git lfs pull" in it`)
  }
}
