// Numbers as people read them.

export function bytes(count: number): string {
  if (count < 1e6) {
    return `${Math.round(count / 1e3)} kB`;
  }
  return count < 1e9 ? `${Math.round(count / 1e6)} MB` : `${(count / 1e9).toFixed(2)} GB`;
}

export function perSecond(rate: number): string {
  return `${rate < 10 ? rate.toFixed(1) : Math.round(rate)} tokens/s`;
}

export function seconds(count: number): string {
  return count < 10 ? `${count.toFixed(1)} s` : `${Math.round(count)} s`;
}

/** A count of weights. */
export function parameters(count: number): string {
  return count < 1e9 ? `${Math.round(count / 1e6)} million` : `${(count / 1e9).toFixed(1)} billion`;
}
