// GET /v1/models and /v1/models/{id}: what the key may use of the catalog, with its price and whether a node serves it. An alias is listed
// behind all models.

import { type Model, model as shown } from '../../../contract/public/model.ts'
import { listOf } from '../../../contract/public/page.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { adapterOver, type Catalog, type CatalogModel } from '../../catalog/catalog.ts'
import { catalogOf } from '../../catalog/in-force.ts'
import { obtain } from '../../db/ask.ts'
import type { Answer } from '../../db/functions.ts'
import { endpoint } from '../../endpoint.ts'
import type { Asking } from '../../env.ts'
import { ApiError } from '../../error.ts'

export const listModels = endpoint(
  { says: 'Lists the models, with what they cost the account.', answer: listOf(shown) },
  async (c, caller: Caller) => {
    const book = await obtain(c.env, 'read_prices', caller, 'allowed')
    const named = [...(await servedTo(c, book))].filter(([name, { id }]) => mayUse(book, name, id))
    return c.json({ object: 'list', data: named.map(([name, model]) => publicModel(name, model, book)) })
  },
)

export const retrieveModel = endpoint(
  { says: 'Shows a model, with what it costs the account.', answer: shown },
  async (c, caller: Caller) => {
    const book = await obtain(c.env, 'read_prices', caller, 'allowed')
    const name = c.req.param('id') ?? ''
    const model = (await servedTo(c, book)).get(name)
    if (!model) throw new ApiError('model_not_found', { param: 'model' })
    if (!mayUse(book, name, model.id)) throw new ApiError('model_not_allowed', { param: 'model' })
    return c.json(publicModel(name, model, book))
  },
)

type Book = Extract<Answer<'read_prices'>, { decision: 'allowed' }>

/** The catalog, and the adapters that the account may ask. */
async function servedTo(c: Asking, { adapters }: Book): Promise<Catalog> {
  const catalog = await catalogOf(c)
  const over = Object.entries(adapters).flatMap(([id, base]) => adapterOver(catalog, id, base) ?? [])
  return new Map([...catalog, ...over.map((model) => [model.id, model] as const)])
}

function mayUse({ models }: Book, ...names: string[]): boolean {
  return models === null || names.some((name) => models.includes(name))
}

function publicModel(name: string, model: CatalogModel, { prices, served }: Book): Model {
  const price = prices[model.id]
  const { id, created, owned_by, context_tokens, fallbacks, judges, licence, humaneval, unserved } = model
  return {
    id: name,
    object: 'model',
    created: Date.parse(created) / 1000,
    owned_by,
    root: model.base ?? id,
    parent: model.base ?? null,
    context_length: context_tokens,
    available: served.includes(id),
    pricing: price
      ? {
          input_nanousd_per_token: price.input_nanousd_per_token,
          cached_input_nanousd_per_token: price.cached_input_nanousd_per_token,
          output_nanousd_per_token: price.output_nanousd_per_token,
          version: price.version,
        }
      : null,
    ...(name !== id && { alias_of: id }),
    ...(fallbacks && { fallbacks }),
    ...(judges && { judges }),
    ...(licence !== undefined && { licence }),
    ...(humaneval && { humaneval }),
    ...(unserved !== undefined && { unserved }),
  }
}
