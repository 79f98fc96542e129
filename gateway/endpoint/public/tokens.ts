// POST /v1/tokenize and /v1/detokenize, in vLLM's form: how a text or a conversation falls into tokens of the model, and back.

import * as z from 'zod'
import type { TemplateName } from '../../../contract/public/catalog.ts'
import { text } from '../../../contract/public/text.ts'
import { detokenization, type Tokenization, tokenization } from '../../../contract/public/tokens.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { endpoint } from '../../endpoint.ts'
import { ApiError } from '../../error.ts'
import { generationFields, tokenId } from '../../field/generation.ts'
import { readBody } from '../../field/read-body.ts'
import { askingNothing, unsupported } from '../../field/unused.ts'
import { askModel, modelOf } from '../../generate/ask-model.ts'
import { chatPrompt, rawPrompt } from '../../prompt/template.ts'
import { chatOf, conversation } from './chat-completions.ts'

const body = z
  .object({
    model: generationFields.model,
    prompt: text.nullish(),
    ...conversation,
    messages: conversation.messages.nullish(),
    add_special_tokens: z.boolean().nullish(), // of a prompt; a template has its own
    return_token_strs: z.boolean().nullish(),
    chat_template: unsupported(),
  })
  .catchall(askingNothing())

type Body = z.infer<typeof body>

export const tokenize = endpoint(
  { says: 'Shows the tokens of a prompt or of a conversation.', body, answer: tokenization },
  async (c, caller: Caller) => {
    const fields = await readBody(c, body)
    const { model, named } = await modelOf(c, caller, fields.model)
    const { prompts, sequence_tokens_max } = await askModel(c, caller, named, {
      prompts: [promptOf(fields, model.template)],
      with_ids: true,
    })
    const { tokens, pieces } = prompts[0]!.ids!
    const answer: Tokenization = {
      count: tokens.length,
      max_model_len: sequence_tokens_max,
      tokens,
      token_strs: fields.return_token_strs ? pieces : null,
    }
    return c.json(answer)
  },
)

function promptOf({ prompt, messages, add_special_tokens, ...chat }: Body, template: TemplateName) {
  if ((prompt == null) === (messages == null))
    throw new ApiError('invalid_value', { param: 'prompt', message: "Give either 'prompt' or 'messages'." })
  if (messages) return chatPrompt(template, chatOf({ messages, ...chat }))
  if (chat.tools?.length) throw new ApiError('invalid_value', { param: 'tools', message: "'tools' need 'messages'." })
  return add_special_tokens === false ? [{ text: prompt! }] : rawPrompt(prompt!)
}

const tokens = z.object({ model: generationFields.model, tokens: z.array(tokenId) }).catchall(askingNothing())

export const detokenize = endpoint(
  { says: 'Shows the text of tokens.', body: tokens, answer: detokenization },
  async (c, caller: Caller) => {
    const { model, tokens: given } = await readBody(c, tokens)
    const { named } = await modelOf(c, caller, model)
    const { text } = await askModel(c, caller, named, { tokens: given })
    return c.json({ prompt: text })
  },
)
