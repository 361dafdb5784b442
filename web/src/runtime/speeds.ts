// How many workers are the fastest is found by trying, one number at a load.
import type { Exchange } from "./exchange.ts";

/** Where measured speeds are kept: tokens per second, by a label of the workers. */
export interface SpeedNotes {
  get(key: string): Record<string, number>;
  set(key: string, speeds: Record<string, number>): void;
}

/** Twice as many workers must be so much faster for still more to be tried. */
const worthwhile = 1.1;

/** What a speed is kept under. */
export function speedLabel(workers: number, exchange: Exchange | undefined): string {
  return workers > 1 && exchange === "messages" ? `${workers} by messages` : `${workers}`;
}

/** The number of workers for the next load: the next to try, or the fastest. */
export function chooseWorkers(
  notes: SpeedNotes,
  key: string,
  cores: number,
  exchange: Exchange | undefined,
): number {
  if (exchange === undefined) {
    return 1;
  }
  const speeds = notes.get(key);
  let best = 1;
  for (let workers = 1; workers <= Math.max(1, cores); workers *= 2) {
    const speed = speeds[speedLabel(workers, exchange)];
    if (speed === undefined) {
      return workers;
    }
    if (workers > 1) {
      if (speed < (speeds[speedLabel(best, exchange)] as number) * worthwhile) {
        break;
      }
      best = workers;
    }
  }
  return best;
}

/** Notes how fast an answer was; the best counts, as others only show what else was going on. */
export function noteSpeed(notes: SpeedNotes, key: string, label: string, speed: number): void {
  const speeds = notes.get(key);
  if (speed > (speeds[label] ?? 0)) {
    notes.set(key, { ...speeds, [label]: speed });
  }
}
