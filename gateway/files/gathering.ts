// Bytes that are gathered into parts.

import { PART_BYTES } from './part.ts'

export class Gathering {
  #bytes = new Uint8Array(PART_BYTES)
  #length = 0
  readonly #full: (part: Uint8Array<ArrayBuffer>) => Promise<void>

  /** `full` is given each part that is full, in order. */
  constructor(full: (part: Uint8Array<ArrayBuffer>) => Promise<void>) {
    this.#full = full
  }

  async add(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const taken = bytes.subarray(at, at + PART_BYTES - this.#length)
      this.#bytes.set(taken, this.#length)
      this.#length += taken.length
      at += taken.length
      if (this.#length < PART_BYTES) return
      await this.#full(this.#bytes)
      this.#length = 0
    }
  }

  /** What is left: less than a part. */
  get rest(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length)
  }
}
