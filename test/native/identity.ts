// An architecture that only tests have: its layers leave the residual stream as it is. Its other half is identity.cpp, whose
// addon is native/build/ziya-test.node.

import * as z from 'zod'
import { type Architecture, dimension, parsed, UNSCALED } from '../../gpu-node/run/native/architecture/architecture.ts'

const configSchema = z.object({
  vocab_size: dimension,
  hidden_size: dimension,
  num_hidden_layers: dimension,
  max_position_embeddings: dimension,
})

const nothing = { intermediate_size: 0, heads: 0, kv_heads: 0, head_size: 0, rope_theta: 0, ...UNSCALED }

export const identity: Architecture = {
  config_names: ['IdentityForCausalLM'],
  model_type: 'identity',
  tied: [],
  title: 'model of identities',
  shapeOf(config) {
    const read = parsed(configSchema, config, 'config_invalid', 'config.json')
    return {
      architecture: 'identity',
      vocab_size: read.vocab_size,
      hidden_size: read.hidden_size,
      layers: read.num_hidden_layers,
      context_tokens: read.max_position_embeddings,
      rms_norm_eps: 1e-5,
      layer_norm_eps: 0,
      exact_gelu: false,
      attention_bias: false,
      mlp_bias: false,
      tied_embeddings: false,
      ...nothing,
    }
  },
  tensorsOf: ({ vocab_size, hidden_size }) => [
    { name: 'embed.weight', shape: [vocab_size, hidden_size], slot: 'embedding', first_row: 0 },
    { name: 'norm.weight', shape: [hidden_size], slot: 'norm', first_row: 0 },
    { name: 'head.weight', shape: [vocab_size, hidden_size], slot: 'head', first_row: 0 },
  ],
  isHarmless: () => false,
}
