// The id of a row as it travels: a decimal string, because a bigint may not fit a JavaScript number.

import { z } from 'zod'

export const rowId = z.string().regex(/^[1-9]\d{0,17}$/, 'expected an id')
