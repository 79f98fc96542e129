// What `npm start` must know of a model whose engine is another's: its name there, and how long its context is. Both it can be asked.

import { Addresses, KEY_VARIABLE } from '../gpu-node/run/upstream/addresses.ts'
import { Connection } from '../gpu-node/run/upstream/connection.ts'
import { contextTokens, modelsAt } from '../gpu-node/run/upstream/context.ts'
import { releaseCatalog } from './catalog.ts'
import { type FolderModel, knownTemplate, requireTemplate } from './model.ts'

export interface UpstreamOptions {
  /** Its address, or a file that lists several. */
  upstream: string
  kind: string
  /** Null: the only one that there is. */
  model: string | null
  key_file: string | null
  /** Null: as the engine says. */
  context: number | null
}

export interface UpstreamModel extends FolderModel {
  /** The settings of its node. */
  flags: Record<string, string | number>
}

const SILENT_MS_MAX = 10_000

export async function readUpstream(options: UpstreamOptions, template: string | null): Promise<UpstreamModel> {
  const { upstream, key_file, kind } = options
  const addresses = new Addresses({ upstream, key_file: key_file ?? undefined, environment: process.env })
  const connection = new Connection({ silent_ms_max: SILENT_MS_MAX })
  try {
    const id = options.model ?? (await onlyModel(addresses, connection))
    const context = options.context ?? (await contextTokens(addresses, connection, id))
    const flags = {
      upstream,
      upstream_kind: kind,
      context_tokens: context,
      ...(key_file && { upstream_key_file: key_file }),
    }
    return { id, flags, ...named(id, context, template) }
  } finally {
    await connection.close()
  }
}

/** The variable that its key is in, for its node. */
export function upstreamEnvironment(): NodeJS.ProcessEnv {
  const key = process.env[KEY_VARIABLE]
  return key ? { [KEY_VARIABLE]: key } : {}
}

function named(id: string, context: number, wanted: string | null): Omit<FolderModel, 'id'> {
  const row = releaseCatalog().get(id)
  const has_format = row !== undefined && row.template !== 'folder'
  if (has_format) requireTemplate(row, wanted)
  const template = has_format ? row.template : wanted ? knownTemplate(wanted) : 'folder'
  const explanation = template === 'folder' ? 'its engine formats chats' : `template ${template}`
  if (has_format && context >= row.context_tokens) return { local_model: null, explanation }
  return { local_model: { id, template, context }, explanation }
}

async function onlyModel(addresses: Addresses, connection: Connection): Promise<string> {
  const served = await modelsAt(addresses.all[0]!, connection)
  if (served.length === 1) return served[0]!.id
  const names = served.map(({ id }) => id).slice(0, 20)
  throw new Error(`--upstream-model: say which, of ${names.join(', ') || 'those that the engine serves'}`)
}
