// A model that answers each of the recipe's questions by what it is about, and a service that has its batches: no answer is drawn.

import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface ScriptedModel {
  url: string
  /** Questions that were answered, batches' too. */
  asked: string[]
  /** No more are answered than so many; the others wait. */
  answers_max: number
  /** Those that were made; who made one need not hear of it. */
  batches: { id: string; metadata: Record<string, string> }[]
  tells_batches: boolean
  close: () => void
}

export function answerTo(question: string): string {
  const task = /(?:^|Task:\n)(Write [^\n]*)/.exec(question)?.[1] ?? ''
  const name = /function (\w+)/.exec(task)?.[1] ?? 'f'
  if (question.startsWith('Below is a programming task. Rewrite')) {
    if (task.includes('stays')) return task
    return `${task} Also refuse a negative number${task.length % 7}, with a ValueError.`
  }
  if (question.startsWith('Below are a programming task')) {
    if (task.includes('untested')) return 'I have none.'
    return `\`\`\`python\nassert ${name}(1) == ${task.includes('wrong') ? 3 : 2}\nassert ${name}(2) == 3\n\`\`\``
  }
  if (task.includes('silent')) return ''
  if (task.includes('broken')) return '```python\ndef f(:\n```'
  return `\`\`\`python\ndef ${name}(x):\n    return x + 1\n\`\`\``
}

export async function startScriptedModel(): Promise<ScriptedModel> {
  const files = new Map<string, string>()
  const waiting: (() => void)[] = []
  const model: ScriptedModel = {
    url: '',
    asked: [],
    answers_max: Number.POSITIVE_INFINITY,
    batches: [],
    tells_batches: true,
    close: () => server.close(),
  }
  const answer = (body: { messages: { content: string }[] }) => {
    const question = body.messages[0]!.content
    model.asked.push(question)
    return {
      choices: [{ index: 0, message: { role: 'assistant', content: answerTo(question) }, finish_reason: 'stop' }],
    }
  }
  const server: Server = createServer(async (request, response) => {
    const bytes = Buffer.concat(await Array.fromAsync(request))
    const json = (value: unknown) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify(value))
    }
    if (request.url === '/v1/chat/completions') {
      if (model.asked.length >= model.answers_max) await new Promise<void>((resolve) => waiting.push(resolve))
      else json(answer(JSON.parse(bytes.toString())))
    } else if (request.url === '/v1/files') {
      const id = `file-${files.size}`
      files.set(
        id,
        bytes
          .toString()
          .split('\n')
          .filter((line) => line.startsWith('{'))
          .join('\n'),
      )
      json({ id, object: 'file' })
    } else if (request.method === 'GET' && request.url?.startsWith('/v1/batches?')) {
      json({ object: 'list', data: model.batches, has_more: false })
    } else if (request.url === '/v1/batches') {
      const { input_file_id, metadata } = JSON.parse(bytes.toString())
      const lines = files.get(input_file_id)!.split('\n')
      const written = lines
        .map((line) => JSON.parse(line))
        .map(({ custom_id, body }) => ({ custom_id, response: { body: answer(body) }, error: null }))
      const output = `file-${files.size}`
      files.set(output, written.map((line) => JSON.stringify(line)).join('\n'))
      const id = output.replace('file', 'batch')
      model.batches.push({ id, metadata })
      if (model.tells_batches) json({ id, status: 'in_progress' })
    } else if (request.url?.startsWith('/v1/batches/')) {
      const id = request.url.split('/').at(-1)!
      json({ id, status: 'completed', output_file_id: id.replace('batch', 'file') })
    } else response.end(files.get(request.url!.split('/')[3]!) ?? '')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  model.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
  model.close = () => {
    server.close()
    server.closeAllConnections()
  }
  return model
}
