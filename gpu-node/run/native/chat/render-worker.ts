// Renders chats by the template of a model's folder on a thread of its own, one after the other, for chat-template.ts.

import { parentPort, workerData } from 'node:worker_threads'
import { Template } from '@huggingface/jinja'

/** A text, or why there is none. */
export type Rendered = { text: string } | { refused: string }

export interface Rendering {
  messages: { role: string; content: string }[]
  add_generation_prompt: boolean
}

/** What the thread is made for. */
export interface RenderData {
  source: string
  tokens: Record<string, string> // the named ones, such as bos_token
  length_max: number // of a text
}

const { source, tokens, length_max } = workerData as RenderData
let template: Template | null = null

parentPort!.on('message', (rendering: Rendering) => parentPort!.postMessage(rendered(rendering)))
parentPort!.postMessage('ready')

function rendered(rendering: Rendering): Rendered {
  try {
    template ??= new Template(source)
    const text = template.render({ ...rendering, ...tokens, tools: null, documents: null })
    return text.length > length_max ? { refused: 'it makes too long a text' } : { text }
  } catch (error) {
    return { refused: String((error as Error).message).slice(0, 200) }
  }
}
