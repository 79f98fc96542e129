// What the gateway must know of a model folder: a folder with the name of a catalog row takes that row, any other is served
// under its own name.

import { existsSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { catalogWith, type LocalModel } from '../gateway/catalog.ts'
import { type TemplateName, templateNames } from '../gateway/prompt/template.ts'
import { readChatTemplate } from '../gpu-node/run/native/load/chat-template-file.ts'

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
  const row = catalogWith(null).get(id)
  if (!row) return { id, ...unlisted(dir, context, template) }
  if (template && template !== row.template)
    throw new Error(`--template ${template} does not fit: the catalog serves ${id} with the template ${row.template}`)
  const explanation = `template ${row.template}, as the catalog says`
  if (context >= row.context_tokens) return { id, local_model: null, explanation }
  return { id, local_model: { id, template: row.template, context }, explanation }
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
