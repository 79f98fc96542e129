/** Reads on until so many frames with text have come: what keeps a stream alive has none, nor has what begins an answer. */
export async function readText(reader: ReadableStreamDefaultReader<Uint8Array>, frames = 1): Promise<string> {
  const decoder = new TextDecoder()
  for (let text = ''; ; ) {
    const { value, done } = await reader.read()
    if (done) throw new Error(`the stream ended: ${text}`)
    text += decoder.decode(value, { stream: true })
    if (text.split(/"(?:text|content)":"[^"]/).length > frames) return text
  }
}
