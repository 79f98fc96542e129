// GET /v1/models and /v1/models/{id}: what the catalog offers, with its price.

import type { Model } from '../../contract/openai.ts'
import { identify } from '../auth/authenticate.ts'
import { ask } from '../billing/ledger.ts'
import type { CatalogModel } from '../catalog.ts'
import { type Call, settingsOf } from '../env.ts'
import { ApiError } from '../error.ts'

export async function listModels(c: Call): Promise<Response> {
  await authenticateGenerator(c)
  return c.json({ object: 'list', data: Array.from(settingsOf(c.env).catalog.values(), publicModel) })
}

export async function retrieveModel(c: Call): Promise<Response> {
  await authenticateGenerator(c)
  const model = settingsOf(c.env).catalog.get(c.req.param('id') ?? '')
  if (!model) throw new ApiError('model_not_found', { param: 'model' })
  return c.json(publicModel(model))
}

async function authenticateGenerator(c: Call): Promise<void> {
  const item = { ...(await identify(c)), scope: 'generate' }
  await ask(c.env, 'authenticate', item)
}

function publicModel(model: CatalogModel): Model {
  return {
    id: model.id,
    object: 'model',
    created: model.created_unix_s,
    owned_by: model.owned_by,
    context_length: model.context_tokens,
    pricing: {
      input_nanousd_per_token: String(model.price.input_nanousd_per_token),
      output_nanousd_per_token: String(model.price.output_nanousd_per_token),
    },
  }
}
