// A prompt as it travels to an engine, and what is known of its tokens before that counts them.

import type { PlainPart, PromptPart } from '../../../contract/internal/generation.ts'
import type { Truncation } from '../../../contract/internal/question.ts'
import { Refusal } from '../../refusal.ts'
import type { RunRequest } from '../runner.ts'
import type { Dialect } from './dialect.ts'
import { unsupported } from './question.ts'
import type { Vocabulary } from './vocabulary.ts'

/** Token ids, a text, or a chat that the engine formats. */
export type Prompt = PromptForm & {
  /** Its tokens are at most so many, and exactly so many where `is_counted`. */
  readonly tokens_max: number
  readonly is_counted: boolean
  readonly bytes: number // of its text
  /** What its answer begins with where the prompt is given back. */
  readonly echo: string
}

type PromptForm =
  | { readonly kind: 'ids'; readonly ids: readonly number[] }
  | { readonly kind: 'text'; readonly text: string; readonly has_begin: boolean }
  | { readonly kind: 'chat'; readonly turns: { role: string; text: string }[]; readonly is_continued: boolean }

export interface PromptRoom {
  dialect: Dialect
  vocabulary: Vocabulary | null
  sequence_tokens_max: number
}

export function promptOf(parts: PromptPart[], request: RunRequest, room: PromptRoom): Prompt {
  const [first] = parts
  if (first && 'chat' in first) return chatOf(first, request, room)
  const plain = parts as PlainPart[]
  if (room.vocabulary && room.dialect.takes_ids) return counted(plain, request, room, room.vocabulary)
  if (plain.every((part) => 'tokens' in part))
    return idsOf(
      plain.flatMap(({ tokens }) => tokens),
      request,
      room,
    )
  if (plain.some((part) => 'tokens' in part)) throw unsupported('prompt')
  return textOf(plain, request, room)
}

function chatOf(
  { chat, is_continued }: Extract<PromptPart, { chat: unknown }>,
  request: RunRequest,
  { dialect, sequence_tokens_max }: PromptRoom,
): Prompt {
  if (is_continued && !dialect.continues_chats)
    throw new Refusal('invalid_messages', 'What serves this model cannot go on with a message of the assistant.', {
      param: 'messages',
    })
  const bytes = chat.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0)
  refuseHopeless(bytes, request, sequence_tokens_max)
  return {
    kind: 'chat',
    turns: chat,
    is_continued,
    tokens_max: sequence_tokens_max,
    is_counted: false,
    bytes,
    echo: '',
  }
}

function counted(
  parts: PlainPart[],
  request: Truncation,
  { sequence_tokens_max }: PromptRoom,
  vocabulary: Vocabulary,
): Prompt {
  const [ids] = vocabulary.encode([parts], request, sequence_tokens_max)
  const echo = vocabulary.decode(ids!).text
  return { kind: 'ids', ids: ids!, tokens_max: ids!.length, is_counted: true, bytes: Buffer.byteLength(echo), echo }
}

function idsOf(ids: number[], request: RunRequest, { dialect }: PromptRoom): Prompt {
  if (!dialect.takes_ids || request.echo || request.truncate_prompt) throw unsupported('prompt')
  return { kind: 'ids', ids, tokens_max: ids.length, is_counted: true, bytes: 0, echo: '' }
}

const BEGIN = '<s>'

/** The engine puts the beginning of the sequence in front itself, where it is not told otherwise. */
function textOf(parts: PlainPart[], request: RunRequest, { sequence_tokens_max }: PromptRoom): Prompt {
  const has_begin = 'special' in (parts[0] ?? {}) && (parts[0] as { special: string }).special === BEGIN
  const text = (has_begin ? parts.slice(1) : parts).map(spelled).join('')
  const bytes = Buffer.byteLength(text)
  refuseHopeless(bytes, request, sequence_tokens_max)
  // A token is a byte at least, and each part may begin with a space more: as the gateway bounds it (generate/cost-ceiling.ts).
  const tokens_max = Math.min(bytes + parts.length, sequence_tokens_max)
  return { kind: 'text', text, has_begin, tokens_max, is_counted: false, bytes, echo: text }
}

function spelled(part: PlainPart): string {
  if ('text' in part) return part.text
  return 'special' in part ? part.special : ''
}

/** Text has at least one token for so many bytes; longer ones stand for runs of spaces, in few vocabularies. */
export const TOKEN_BYTES_MAX = 16

function refuseHopeless(bytes: number, request: RunRequest, sequence_tokens_max: number): void {
  if (request.truncate_prompt || bytes <= sequence_tokens_max * LONGEST_TOKEN_BYTES) return
  throw new Refusal(
    'context_length_exceeded',
    `This model's maximum context length is ${sequence_tokens_max} tokens; the prompt has ${bytes} bytes.`,
    { param: 'prompt' },
  )
}

const LONGEST_TOKEN_BYTES = 256
