import { text } from '../../contract/public/text.ts'

/** A name that a person gives something. */
export const name = text.min(1).max(200)
