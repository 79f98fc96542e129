// GET /v1/models and /v1/models/{id}: what the catalog offers, with its price.

import type { Model } from '../../../contract/public/openai.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { ask } from '../../billing/ledger.ts'
import type { CatalogModel } from '../../catalog.ts'
import { type Call, settingsOf } from '../../env.ts'
import { ApiError } from '../../error.ts'

type Prices = Record<string, NonNullable<Model['pricing']>>

export async function listModels(c: Call, caller: Caller): Promise<Response> {
  const prices = await pricesOf(c, caller)
  const models = Array.from(settingsOf(c.env).catalog.values(), (model) => publicModel(model, prices))
  return c.json({ object: 'list', data: models })
}

export async function retrieveModel(c: Call, caller: Caller): Promise<Response> {
  const prices = await pricesOf(c, caller)
  const model = settingsOf(c.env).catalog.get(c.req.param('id') ?? '')
  if (!model) throw new ApiError('model_not_found', { param: 'model' })
  return c.json(publicModel(model, prices))
}

async function pricesOf(c: Call, caller: Caller): Promise<Prices> {
  return (await ask<{ prices: Prices }>(c.env, 'read_prices', caller)).prices
}

function publicModel(model: CatalogModel, prices: Prices): Model {
  const price = prices[model.id]
  return {
    id: model.id,
    object: 'model',
    created: model.created_unix_s,
    owned_by: model.owned_by,
    context_length: model.context_tokens,
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
