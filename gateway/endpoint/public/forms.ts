// The forms of generations by the paths that take them, for what asks for one in another way than by a request of its own.

import type { Caller } from '../../auth/authenticate.ts'
import type { Asking } from '../../env.ts'
import { checked } from '../../field/read-body.ts'
import { type Asked, formatted, type GenerationBody, type GenerationForm } from '../../generate/generate.ts'
import { chatForm } from './chat-completions.ts'
import { completionForm } from './completions.ts'
import { messageForm } from './messages.ts'
import { responseForm } from './responses.ts'

export const forms = {
  '/v1/chat/completions': (c: Asking, given: object, caller: Caller) => asked(c, caller, chatForm, given),
  '/v1/completions': (c: Asking, given: object, caller: Caller) => asked(c, caller, completionForm, given),
  '/v1/messages': (c: Asking, given: object, caller: Caller) => asked(c, caller, messageForm, given),
  '/v1/responses': (c: Asking, given: object, caller: Caller) => asked(c, caller, responseForm(c, caller), given),
}

function asked<B extends GenerationBody>(
  c: Asking,
  caller: Caller,
  form: GenerationForm<B>,
  given: object,
): Promise<Asked> {
  return formatted(c, caller, { form, fields: checked(given, form.schema) })
}
