// A LLaMA that judges answers: its head has one row, and a bias, and what it says of an answer's last token is the answer's value. It was
// published as Ziya-LLaMA-7B-Reward, with the text that it reads (that model's card: "Human:" + query + "\n\nAssistant:" + response).

import type { ModelShape } from '../engine.ts'
import type { Architecture, SlotTensor } from './architecture.ts'
import { llama } from './llama.ts'

export const llamaReward: Architecture = {
  config_names: ['LlamaRewardModel', 'LlamaHFRewardModel'],
  model_type: 'llama',
  title: 'LLaMA with a value head',
  shapeOf: (config, told) => ({ ...llama.shapeOf(config, told), architecture: 'llama_reward', tied_embeddings: false }),
  tensorsOf,
  tied: [],
  isHarmless: (name, shape) => NEVER_READ.test(name) || llama.isHarmless(name, shape),
  judgedText: ({ query, answer }) => `Human:${query}\n\nAssistant:${answer}`,
}

// What drew tokens in the model that it was trained from, and what judged single tokens in training.
const NEVER_READ = /^(lm_head|token_value_head)\./

function tensorsOf(shape: ModelShape): SlotTensor[] {
  return [
    ...llama.tensorsOf(shape).filter(({ slot }) => slot !== 'head'),
    { name: 'value_head.weight', shape: [1, shape.hidden_size], slot: 'value_head', first_row: 0 },
    { name: 'value_head.bias', shape: [1], slot: 'value_bias', first_row: 0 },
  ]
}
