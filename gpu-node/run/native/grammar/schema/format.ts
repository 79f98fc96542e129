// The formats of strings, as regular expressions over the whole string. Each holds only what the standard that defines it allows:
// days that there are in their month, addresses that are some. Of host names, URIs and leap seconds it leaves out the rarest.

const YEAR = '[0-9]{4}'
const LEAP_YEAR = '(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)'
const DATE =
  `(?:${YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|` +
  `02-(?:0[1-9]|1[0-9]|2[0-8]))|${LEAP_YEAR}-02-29)`
const HOURS_MINUTES = '(?:[01][0-9]|2[0-3]):[0-5][0-9]'
const TIME = `${HOURS_MINUTES}:[0-5][0-9](?:\\.[0-9]{1,9})?(?:Z|[+-]${HOURS_MINUTES})`

const COUNT = '[0-9]{1,9}'
const CLOCK = `T(?:${COUNT}H(?:${COUNT}M(?:${COUNT}S)?)?|${COUNT}M(?:${COUNT}S)?|${COUNT}S)`
const CALENDAR = `(?:${COUNT}D|${COUNT}M(?:${COUNT}D)?|${COUNT}Y(?:${COUNT}M(?:${COUNT}D)?)?)`
const DURATION = `P(?:${CALENDAR}(?:${CLOCK})?|${CLOCK}|${COUNT}W)`

const LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?'
const SHORT_LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,22}[a-zA-Z0-9])?' // ten of them are within the 253 characters of a name
const ATOM = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,20}"
const EMAIL = `${ATOM}(?:\\.${ATOM}){0,2}@(?:${LABEL}\\.){1,2}${LABEL}`

const OCTET = '(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])'
const IPV4 = `(?:${OCTET}\\.){3}${OCTET}`
const GROUP = '[0-9a-fA-F]{1,4}'

/** Either eight groups, or fewer around one "::" that stands for at least one. */
function ipv6(): string {
  const forms = [`(?:${GROUP}:){7}${GROUP}`]
  for (let before = 0; before <= 7; before++) {
    const head = before === 0 ? '' : `${GROUP}(?::${GROUP}){${before - 1}}`
    const behind = 7 - before
    forms.push(`${head}::${behind === 0 ? '' : `(?:${GROUP}(?::${GROUP}){0,${behind - 1}})?`}`)
  }
  return `(?:${forms.join('|')})`
}

const HEX = '[0-9a-fA-F]'
const UUID = `${HEX}{8}-${HEX}{4}-${HEX}{4}-${HEX}{4}-${HEX}{12}`

const PATH_CHARACTER = `(?:[a-zA-Z0-9._~!$&'()*+,;=:@-]|%${HEX}{2})`
const SEGMENTS = `(?:/${PATH_CHARACTER}*)*`
const REST = `(?:${PATH_CHARACTER}|[/?])*`
const URI = `[a-zA-Z][a-zA-Z0-9+.-]{0,20}:(?://${LABEL}(?:\\.${LABEL}){0,9}(?::[0-9]{1,5})?${SEGMENTS}|${PATH_CHARACTER}+${SEGMENTS})(?:\\?${REST})?(?:#${REST})?`

export const FORMATS: ReadonlyMap<string, string> = new Map([
  ['date', DATE],
  ['time', TIME],
  ['date-time', `${DATE}T${TIME}`],
  ['duration', DURATION],
  ['email', EMAIL],
  ['hostname', `(?:${LABEL}(?:\\.${LABEL}){0,2}|${SHORT_LABEL}(?:\\.${SHORT_LABEL}){0,9})`],
  ['ipv4', IPV4],
  ['ipv6', ipv6()],
  ['uri', URI],
  ['uuid', UUID],
])
