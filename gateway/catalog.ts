// The models we serve: id, prompt template, context and default parameters, as models/catalog.json lists them. A new model is a new row.
// Its sampling is what the model's card says. The list price beside it is what a migration publishes; what counts is in the database.

import { neutralSampling, type SamplingParameters } from '../contract/internal/generation.ts'
import rows from '../models/catalog.json' with { type: 'json' }
import { type TemplateName, templateNames } from './prompt/template.ts'

export interface CatalogModel {
  id: string
  template: TemplateName
  context_tokens: number
  created_unix_s: number
  owned_by: string
  sampling: Omit<SamplingParameters, 'seed'>
  max_tokens_default: number
  /** Of an adapter. */
  base?: string
}

export interface LocalModel {
  id: string
  template: TemplateName
  context: number
}

const catalog = rows.map(catalogModel)

/** The catalog, with the one model that a local folder adds where there is one. */
export function catalogWith(local: LocalModel | null): ReadonlyMap<string, CatalogModel> {
  return new Map([...catalog, ...(local ? [localModel(local)] : [])].map((model) => [model.id, model]))
}

/** An adapter is asked as its base is; undefined where that is not served here. */
export function adapterOver(
  catalog: ReadonlyMap<string, CatalogModel>,
  id: string,
  base: string | null,
): CatalogModel | undefined {
  const model = catalog.get(base ?? '')
  return model && { ...model, id, base: model.id }
}

function catalogModel({ created, price: _, ...row }: (typeof rows)[number]): CatalogModel {
  const template = templateNames.find((name) => name === row.template)
  if (!template) throw new Error(`${row.id} has no template: ${row.template}`)
  return { ...row, template, created_unix_s: unixSeconds(created) }
}

// A folder whose name is a row's sets that row's context alone. Another takes the card of Ziya-Coding: max_new_tokens 512, do_sample,
// top_p 0.85, temperature 1.0, repetition_penalty 1.0.
function localModel({ id, template, context }: LocalModel): CatalogModel {
  const listed = catalog.find((model) => model.id === id)
  if (listed) return { ...listed, context_tokens: context }
  const card = { sampling: { ...neutralSampling, top_p: 0.85 }, max_tokens_default: 512 }
  return {
    id,
    template,
    context_tokens: context,
    created_unix_s: unixSeconds('2026-11-23'),
    owned_by: 'local',
    ...card,
  }
}

function unixSeconds(day: string): number {
  return Date.parse(day) / 1000
}
