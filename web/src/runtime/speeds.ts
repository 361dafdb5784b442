// How many workers are the fastest is found by trying, one number at a load.

/** Where measured speeds are kept: tokens per second, by number of workers. */
export interface SpeedNotes {
  get(key: string): Record<string, number>;
  set(key: string, speeds: Record<string, number>): void;
}

/** Twice as many workers must be so much faster for still more to be tried. */
const worthwhile = 1.1;

/** The number of workers for the next load: the next to try, or the fastest. */
export function chooseWorkers(
  notes: SpeedNotes,
  key: string,
  cores: number,
  shared: boolean,
): number {
  if (!shared) {
    return 1;
  }
  const speeds = notes.get(key);
  let best = 1;
  for (let workers = 1; workers <= Math.max(1, cores); workers *= 2) {
    const speed = speeds[workers];
    if (speed === undefined) {
      return workers;
    }
    if (workers > 1) {
      if (speed < (speeds[best] as number) * worthwhile) {
        break;
      }
      best = workers;
    }
  }
  return best;
}

/** Notes how fast an answer was; the best counts, as others only show what else was going on. */
export function noteSpeed(notes: SpeedNotes, key: string, workers: number, speed: number): void {
  const speeds = notes.get(key);
  if (speed > (speeds[workers] ?? 0)) {
    notes.set(key, { ...speeds, [workers]: speed });
  }
}
