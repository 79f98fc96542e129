// GET /v1/models and /v1/models/{id}: what the key may use of the catalog, with its price and whether a node serves it.

import { type Model, model as shown } from '../../../contract/public/model.ts'
import { listOf } from '../../../contract/public/page.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { adapterOver, type CatalogModel } from '../../catalog.ts'
import { obtain } from '../../db/ask.ts'
import type { Answer } from '../../db/functions.ts'
import { endpoint } from '../../endpoint.ts'
import { type Asking, settingsOf } from '../../env.ts'
import { ApiError } from '../../error.ts'

export const listModels = endpoint(
  { says: 'Lists the models, with what they cost the account.', answer: listOf(shown) },
  async (c, caller: Caller) => {
    const book = await obtain(c.env, 'read_prices', caller, 'allowed')
    const models = [...servedTo(c, book).values()].filter(({ id }) => mayUse(id, book))
    return c.json({ object: 'list', data: models.map((model) => publicModel(model, book)) })
  },
)

export const retrieveModel = endpoint(
  { says: 'Shows a model, with what it costs the account.', answer: shown },
  async (c, caller: Caller) => {
    const book = await obtain(c.env, 'read_prices', caller, 'allowed')
    const model = servedTo(c, book).get(c.req.param('id') ?? '')
    if (!model) throw new ApiError('model_not_found', { param: 'model' })
    if (!mayUse(model.id, book)) throw new ApiError('model_not_allowed', { param: 'model' })
    return c.json(publicModel(model, book))
  },
)

type Book = Extract<Answer<'read_prices'>, { decision: 'allowed' }>

/** The catalog, and the adapters that the account may ask. */
function servedTo(c: Asking, { adapters }: Book): ReadonlyMap<string, CatalogModel> {
  const { catalog } = settingsOf(c.env)
  const over = Object.entries(adapters).flatMap(([id, base]) =>
    catalog.has(id) ? [] : (adapterOver(catalog, id, base) ?? []),
  )
  return new Map([...catalog, ...over.map((model) => [model.id, model] as const)])
}

function mayUse(id: string, { models }: Book): boolean {
  return models === null || models.includes(id)
}

function publicModel(model: CatalogModel, { prices, served }: Book): Model {
  const price = prices[model.id]
  return {
    id: model.id,
    object: 'model',
    created: model.created_unix_s,
    owned_by: model.owned_by,
    root: model.base ?? model.id,
    parent: model.base ?? null,
    context_length: model.context_tokens,
    available: served.includes(model.id),
    pricing: price
      ? {
          input_nanousd_per_token: price.input_nanousd_per_token,
          cached_input_nanousd_per_token: price.cached_input_nanousd_per_token,
          output_nanousd_per_token: price.output_nanousd_per_token,
          version: price.version,
        }
      : null,
  }
}
