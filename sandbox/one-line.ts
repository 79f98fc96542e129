// What a candidate wrote is shown in terminals and tables: one line, without control characters, without reversed directions.

const length_max = 500

export function oneLine(text: string): string {
  const line = text
    .trim()
    .replaceAll(/[\r\n]+\s*/g, ' ')
    .replaceAll(
      /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
      (character) => `\\u${character.codePointAt(0)!.toString(16).padStart(4, '0')}`,
    )
  return line.length > length_max ? `${line.slice(0, length_max)}…` : line
}
