// What is said of the models that are served: by which names they are asked for, and what applies where a row or a folder says nothing.

import { neutralSampling, type SamplingParameters } from '../../contract/internal/generation.ts'
import { type CatalogModel as Row, templateNames } from '../../contract/public/catalog.ts'
import type { LocalModel } from '../env.ts'
import { ApiError } from '../error.ts'

export interface CatalogModel extends Row {
  sampling: Omit<SamplingParameters, 'seed'>
  max_tokens_default: number
  /** Of an adapter. */
  base?: string
}

/** By every name that a model is asked for by: its id, and then its aliases, in the order that they are listed. */
export type Catalog = ReadonlyMap<string, CatalogModel>

/** The model that is asked for by this name; throws where there is none, or nothing can serve it. */
export function namedIn(catalog: Catalog, name: string, param = 'model'): CatalogModel {
  const model = catalog.get(name)
  if (!model) throw new ApiError('model_not_found', { param })
  const { unserved } = model
  if (unserved)
    throw new ApiError('model_not_found', { param: 'model', message: `${model.id} cannot be served here. ${unserved}` })
  return model
}

/** An adapter is asked as its base is, and by its own name alone; undefined where the catalog has no such base, or that name. */
export function adapterOver(catalog: Catalog, id: string, base: string | null): CatalogModel | undefined {
  const model = base === null || catalog.has(id) ? undefined : catalog.get(base)
  if (!model) return undefined
  const { aliases: _aliases, fallbacks: _fallbacks, humaneval: _humaneval, ...row } = model
  return { ...row, id, base: model.id }
}

/** As what the ledger is asked about a model. */
export interface Named {
  model: string
  /** The name that it was asked for by, where that is not its own. */
  asked_model?: string
  /** The same, where the model is what stands behind that name, and not in the place of another. */
  alias?: string
}

/** A model that is asked for, or one in its place. */
export interface Candidate {
  model: CatalogModel
  named: Named
  /** What an answer calls it: by an alias, as it was asked for. */
  shown_as: string
}

/** What is asked for by a name, and then what may be asked in its place, in order; throws where there is no such model. */
export function candidatesFor(catalog: Catalog, name: string): [Candidate, ...Candidate[]] {
  const model = namedIn(catalog, name)
  const others = (model.fallbacks ?? []).map((id) => catalog.get(id)).filter((other) => other && !other.unserved)
  const inPlace = (other: CatalogModel): Candidate => ({
    model: other,
    named: { model: other.id, asked_model: name },
    shown_as: other.id,
  })
  return [{ model, named: namedAs(model, name), shown_as: name }, ...others.map((other) => inPlace(other!))]
}

export function namedAs({ id }: CatalogModel, name: string): Named {
  return name === id ? { model: id } : { model: id, asked_model: name, alias: name }
}

/** Those of a later release that this one cannot ask are left out. */
export function byName(rows: readonly Row[], local: LocalModel | null): Catalog {
  const models = rows.filter(({ template }) => templateNames.includes(template)).map(withDefaults)
  const listed = local && models.find(({ id }) => id === local.id)
  const all = local && !listed ? [...models, unlisted(local)] : models
  const named = all.map((model) => (model === listed ? asInFolder(model, local!) : model))
  const ids = named.map((model) => [model.id, model] as const)
  const aliases = named.flatMap((model) => (model.aliases ?? []).map((alias) => [alias, model] as const))
  return new Map([...ids, ...aliases.filter(([alias]) => !ids.some(([id]) => id === alias))])
}

function withDefaults({ sampling, max_tokens_default = 512, ...row }: Row): CatalogModel {
  return { ...row, max_tokens_default, sampling: { ...neutralSampling, ...sampling } }
}

/** A folder with the name of a row sets its context, and the format of its chats where no other is known. */
function asInFolder(row: CatalogModel, { template, context }: LocalModel): CatalogModel {
  return {
    ...row,
    template: row.template === 'folder' ? template : row.template,
    context_tokens: Math.min(row.context_tokens, context),
  }
}

// Another takes the card of Ziya-Coding: max_new_tokens 512, do_sample, top_p 0.85, temperature 1.0, repetition_penalty 1.0.
function unlisted({ id, template, context }: LocalModel): CatalogModel {
  const row = { id, template, context_tokens: context, created: '2026-11-23', owned_by: 'local' }
  return withDefaults({ ...row, sampling: { top_p: 0.85 } })
}
