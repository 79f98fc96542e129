// What of an answer is a program, and what an attempt is asked that is to mend one.

import {
  type PromptPart,
  REPAIR_FAILURE_BYTES_MAX,
  REPAIR_GAPS,
  type Verification,
} from '../../../contract/internal/generation.ts'

/** With what stands around the text; where nothing does, its first fence, closed or not, and all of a text without one. */
export function programOf(text: string, around: Verification['around']): string {
  if (around) return around.before + text + around.after
  return /```[\w+#.-]*[ \t]*\r?\n([\s\S]*?)(?:\n[ \t]*```|$)/.exec(text)?.[1] ?? text
}

/** The prompt of an attempt that is shown what failed. */
export function repairPrompt(
  { repair, repair_answer_bytes_max }: Pick<Verification, 'repair' | 'repair_answer_bytes_max'>,
  failed: { answer: string; failure: string },
): PromptPart[] {
  const shown: Record<string, string> = {
    [REPAIR_GAPS.answer]: bounded(failed.answer, repair_answer_bytes_max),
    [REPAIR_GAPS.failure]: bounded(failed.failure, REPAIR_FAILURE_BYTES_MAX),
  }
  // One pass: what fills a gap is not looked at again, whatever a model writes.
  const filled = (text: string) => text.replace(GAPS, (gap) => shown[gap]!)
  return repair.map((part) => {
    if ('text' in part) return { text: filled(part.text) }
    if ('chat' in part) return { ...part, chat: part.chat.map((turn) => ({ ...turn, text: filled(turn.text) })) }
    return part
  })
}

const GAPS = new RegExp(Object.values(REPAIR_GAPS).join('|'), 'g')

/** The beginning that has so many bytes at most, without half of a code point. */
function bounded(text: string, bytes_max: number): string {
  const bytes = Buffer.from(text)
  if (bytes.length <= bytes_max) return text
  let end = bytes_max
  while ((bytes[end]! & 0xc0) === 0x80) end -= 1
  return bytes.subarray(0, end).toString()
}
