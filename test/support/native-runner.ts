// Our own runner over a fake engine, with the tokenizer of stories260K, and a node's settings: for tests and for programs that
// tests start.

import { readFileSync } from 'node:fs'
import { type NodeConfig, readConfig } from '../../gpu-node/config.ts'
import { UNSCALED } from '../../gpu-node/run/native/architecture/architecture.ts'
import { NativeRunner } from '../../gpu-node/run/native/runner.ts'
import { Tokenizer } from '../../gpu-node/run/native/tokenizer/tokenizer.ts'
import { testData } from './data.ts'
import { FakeEngine, type FakeEngineOptions } from './fake-engine.ts'
import { NODE_ID } from './generate.ts'
import { NODE_KEY, ticketSigner } from './keys.ts'

const EOS = 2

export interface FakeRunnerOptions {
  engine: Partial<FakeEngineOptions> & { blocks: number }
  context_tokens: number
}

export function nativeRunner(config: NodeConfig, { engine, context_tokens }: FakeRunnerOptions) {
  const tokenizer = new Tokenizer(readFileSync(testData('stories260K/tokenizer.model')))
  const fake = new FakeEngine({ vocab_size: tokenizer.size, eos_id: EOS, ...engine })
  const runner = new NativeRunner({
    model: {
      shape: fakeShape(tokenizer.size, context_tokens),
      tokenizer,
      eos_ids: new Set([engine.eos_id ?? EOS]),
    },
    engine: fake,
    limits: { ...config, blocks: engine.blocks },
    lookahead: config.lookahead,
  })
  return { runner, engine: fake }
}

function fakeShape(vocab_size: number, context_tokens: number) {
  const network = { hidden_size: 8, intermediate_size: 8, layers: 1, heads: 1, kv_heads: 1, head_size: 8 }
  const numbers = {
    rope_theta: 1e4,
    ...UNSCALED,
    rms_norm_eps: 1e-5,
    layer_norm_eps: 0,
    exact_gelu: false,
    attention_bias: false,
    mlp_bias: false,
    tied_embeddings: false,
  }
  return { architecture: 'llama', vocab_size, context_tokens, ...network, ...numbers }
}

/** The defaults of a node, but for these settings. */
export function nodeConfig(settings: Partial<NodeConfig> & { data_dir: string }): NodeConfig {
  const needed = {
    model_dir: 'none',
    model_id: 'test-model',
    gateway_url: 'http://127.0.0.1:9',
    node_id: NODE_ID,
    node_key: NODE_KEY,
    ticket_keys: ticketSigner.x,
  }
  const flags = Object.entries({ ...needed, data_dir: settings.data_dir })
  const defaults = readConfig(
    flags.map(([name, value]) => `--${name.replaceAll('_', '-')}=${value}`),
    {},
  )
  return { ...defaults, ...settings }
}
