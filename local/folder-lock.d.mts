import type { Server } from 'node:net'

export function tryLock(purpose: string, folder: string): Promise<Server | null>
export function waitForLock(purpose: string, folder: string, onWait: () => void): Promise<Server>
