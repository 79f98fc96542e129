export function tiedCommand(signal: NodeJS.Signals, command: string[], user_id?: number | null): string[]

export function canPassClosedFolders(): boolean
