//! Exchange of bytes between threads that each run one instance of a program.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::failure::Stopped;
use crate::runtime::TICK;

/// How long others wait for an instance before it counts as stalled. Between two exchanges an
/// instance computes one layer for one chunk of a prompt, or reads its share of a model: even on a
/// slow machine that is seconds. Only `broadcast` waits without a limit, for rank 0, which may be
/// waiting for its user.
pub(crate) const STALL: Duration = Duration::from_secs(120);

/// How long a waiting thread keeps its processor before it sleeps. Instances usually arrive within
/// microseconds of each other, and rank 0 chooses a token within some hundred; waking a sleeping
/// thread takes tens of microseconds.
const SPIN: Duration = Duration::from_millis(1);

/// Spins between two looks at the clock.
const SPINS: u32 = 64;

/// Spins for which nobody else gets the processor. Beyond that, whoever wants it has it: there may
/// be more instances than processors.
const SPINS_ALONE: u32 = 2000;

/// What an exchange does with what the ranks bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Broadcast,
    AllGather,
    Gather,
}

/// Why an exchange brought nothing.
#[derive(Debug)]
pub(crate) enum Lost {
    /// Rank 0 has come to its end.
    Closed,
    /// An instance has failed: which, and why.
    Failed(String),
    /// The waiting instance itself has to stop.
    Stopped(Stopped),
}

/// What all instances share.
pub(crate) struct Collective {
    seats: Box<[Seat]>,
    stall: Duration,
    /// Whether `end` is set: a look at it costs less.
    has_ended: AtomicBool,
    end: Mutex<Option<End>>,
    sleepers: AtomicUsize,
    wake: Condvar,
}

/// One rank's. On cache lines of its own, so that what one rank writes disturbs no other.
#[repr(align(128))]
struct Seat {
    /// Exchanges at which the rank has arrived.
    arrived: AtomicU64,
    /// What it brought to the last two. When it arrives at one, the others may still be reading
    /// what it brought to the one before.
    parts: [RwLock<Part>; 2],
}

struct Part {
    kind: Kind,
    bytes: Vec<u8>,
}

enum End {
    Closed,
    Failed { rank: usize, message: String, stalled: bool },
}

impl Collective {
    /// For `size` ranks, of which none may keep the others waiting for longer than `stall`.
    pub(crate) fn new(size: usize, stall: Duration) -> Arc<Collective> {
        let part = || RwLock::new(Part { kind: Kind::Broadcast, bytes: Vec::new() });
        let seat = |_| Seat { arrived: AtomicU64::new(0), parts: [part(), part()] };
        Arc::new(Collective {
            seats: (0..size).map(seat).collect(),
            stall,
            has_ended: AtomicBool::new(false),
            end: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            wake: Condvar::new(),
        })
    }

    pub(crate) fn size(&self) -> usize {
        self.seats.len()
    }

    /// Rank 0 has come to its end: the others shall.
    pub(crate) fn close(&self) {
        self.end(End::Closed);
    }

    /// A rank has failed: every exchange fails from now on. Only the first failure counts.
    pub(crate) fn fail(&self, rank: usize, cause: &str) {
        let message = format!("instance {rank} failed: {cause}");
        self.end(End::Failed { rank, message, stalled: false });
    }

    /// Whether a rank that computes should be stopped: nobody waits for it any more.
    pub(crate) fn abandons(&self, rank: usize) -> bool {
        self.has_ended.load(Ordering::Acquire)
            && match &*lock(&self.end) {
                Some(End::Closed) => rank > 0,
                Some(End::Failed { rank: failed, stalled, .. }) => *stalled && *failed == rank,
                None => false,
            }
    }

    fn end(&self, end: End) {
        lock(&self.end).get_or_insert(end);
        self.has_ended.store(true, Ordering::Release);
        self.wake.notify_all();
    }

    fn lost(&self) -> Lost {
        match &*lock(&self.end) {
            Some(End::Failed { message, .. }) => Lost::Failed(message.clone()),
            Some(End::Closed) | None => Lost::Closed,
        }
    }

    /// Waits until a rank has arrived at `count` exchanges.
    fn wait(&self, rank: usize, count: u64, wait: &Wait<'_>) -> Result<(), Lost> {
        let arrived = |order| self.seats[rank].arrived.load(order) >= count;
        if arrived(Ordering::Acquire) {
            return Ok(());
        }
        let begin = Instant::now();
        let mut spins = 0u32;
        while !arrived(Ordering::Acquire) {
            if self.has_ended.load(Ordering::Acquire) {
                return Err(self.lost());
            }
            spins += 1;
            match spins {
                0..SPINS_ALONE => spin_loop(),
                _ => std::thread::yield_now(),
            }
            if spins.is_multiple_of(SPINS) && begin.elapsed() >= SPIN {
                return self.sleep(rank, begin, &|| arrived(Ordering::SeqCst), wait);
            }
        }
        Ok(())
    }

    fn sleep(
        &self,
        rank: usize,
        begin: Instant,
        arrived: &dyn Fn() -> bool,
        wait: &Wait<'_>,
    ) -> Result<(), Lost> {
        // Whoever arrives counts sleepers afterwards, so one of the two sees the other. The order
        // of these operations among all threads has to be one: `SeqCst`.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut end = lock(&self.end);
        let result = loop {
            if arrived() {
                break Ok(());
            }
            if end.is_some() {
                drop(end);
                break Err(self.lost());
            }
            if let Some(stopped) = (wait.stopped)() {
                break Err(Lost::Stopped(stopped));
            }
            if wait.is_limited && begin.elapsed() >= self.stall {
                let message = format!(
                    "instance {rank} stalled: others have waited for it for {} s",
                    self.stall.as_secs_f64()
                );
                drop(end);
                self.end(End::Failed { rank, message, stalled: true });
                break Err(self.lost());
            }
            let woken = self.wake.wait_timeout(end, TICK);
            end = woken.unwrap_or_else(PoisonError::into_inner).0;
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

/// How an exchange waits.
struct Wait<'a> {
    /// Why the waiting instance should stop.
    stopped: &'a dyn Fn() -> Option<Stopped>,
    /// Whether there is a limit.
    is_limited: bool,
}

/// One rank's access.
pub(crate) struct Member {
    pub(crate) collective: Arc<Collective>,
    pub(crate) rank: usize,
    /// Exchanges begun.
    count: u64,
}

impl Member {
    pub(crate) fn new(collective: Arc<Collective>, rank: usize) -> Member {
        Member { collective, rank, count: 0 }
    }

    /// Brings `bytes` to the next exchange, and takes what it gives to this rank. `stopped` says
    /// whether this instance should stop, and is asked while it waits.
    ///
    /// # Errors
    /// [`Lost`]
    pub(crate) fn exchange(
        &mut self,
        kind: Kind,
        bytes: Vec<u8>,
        stopped: &dyn Fn() -> Option<Stopped>,
    ) -> Result<Vec<u8>, Lost> {
        let collective = &*self.collective;
        let seats = &collective.seats;
        let others = || (0..seats.len()).filter(|rank| *rank != self.rank);
        let wait = Wait { stopped, is_limited: kind != Kind::Broadcast };
        let number = self.count;
        self.count += 1;
        if collective.has_ended.load(Ordering::Acquire) {
            return Err(collective.lost());
        }
        // Its place is free when all have arrived at the exchange before this: then they have read
        // what was brought to the one before that.
        for rank in others() {
            collective.wait(rank, number, &Wait { is_limited: true, ..wait })?;
        }
        let seat = &seats[self.rank];
        *seat.parts[number as usize % 2].write().unwrap_or_else(PoisonError::into_inner) =
            Part { kind, bytes };
        seat.arrived.store(number + 1, Ordering::SeqCst);
        if collective.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&collective.end));
            collective.wake.notify_all();
        }
        let wanted = match kind {
            Kind::Broadcast => 0..1,
            Kind::Gather if self.rank > 0 => 0..0,
            Kind::AllGather | Kind::Gather => 0..seats.len(),
        };
        let mut all = Vec::new();
        for rank in wanted {
            if rank != self.rank {
                collective.wait(rank, number + 1, &wait)?;
            }
            let part = seats[rank].parts[number as usize % 2].read();
            let part = part.unwrap_or_else(PoisonError::into_inner);
            if part.kind != kind {
                collective.fail(rank, "it takes part in another exchange than the others");
                return Err(collective.lost());
            }
            all.extend_from_slice(&part.bytes);
        }
        Ok(all)
    }
}

/// A poisoned lock only means that another thread panicked; what is inside is always whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_threads<T: Send>(size: usize, work: impl Fn(&mut Member) -> T + Sync) -> Vec<T> {
        let collective = Collective::new(size, STALL);
        std::thread::scope(|scope| {
            let start = |rank| {
                let (mut member, work) = (Member::new(collective.clone(), rank), &work);
                scope.spawn(move || work(&mut member))
            };
            let threads: Vec<_> = (0..size).map(start).collect();
            threads.into_iter().map(|thread| thread.join().expect("ends")).collect()
        })
    }

    fn take(member: &mut Member, kind: Kind, bytes: &[u8]) -> Vec<u8> {
        member.exchange(kind, bytes.to_vec(), &|| None).expect("brings bytes")
    }

    #[test]
    fn every_rank_gets_what_its_exchange_gives() {
        for size in 1..=5 {
            let results = on_threads(size, |member| {
                let rank = member.rank;
                (0..2000u32).all(|round| {
                    let own = vec![rank as u8 + round as u8; rank];
                    let all: Vec<u8> =
                        (0..size).flat_map(|rank| vec![rank as u8 + round as u8; rank]).collect();
                    let said = round.to_le_bytes();
                    let said = if rank == 0 { &said[..] } else { &[] };
                    take(member, Kind::Broadcast, said) == round.to_le_bytes()
                        && take(member, Kind::AllGather, &own) == all
                        && take(member, Kind::Gather, &own)
                            == if rank == 0 { all } else { Vec::new() }
                })
            });
            assert_eq!(results, vec![true; size]);
        }
    }

    #[test]
    fn sleepers_are_woken() {
        let results = on_threads(2, |member| {
            (0..5)
                .map(|round| {
                    if member.rank == round % 2 {
                        std::thread::sleep(SPIN * 20);
                    }
                    take(member, Kind::AllGather, &[round as u8])
                })
                .collect::<Vec<_>>()
        });
        assert_eq!(results[0], results[1]);
    }

    #[test]
    fn a_failure_ends_all_exchanges_with_rank_and_cause() {
        let results = on_threads(3, |member| {
            if member.rank == 1 {
                member.collective.fail(1, "no more memory");
                member.collective.fail(0, "an echo");
            }
            let mut lost = || match member.exchange(Kind::AllGather, vec![1], &|| None) {
                Err(Lost::Failed(message)) => message,
                other => panic!("{other:?}"),
            };
            (lost(), lost())
        });
        let expected = "instance 1 failed: no more memory".to_owned();
        assert_eq!(results, vec![(expected.clone(), expected); 3]);
    }

    #[test]
    fn ranks_that_wait_for_the_next_step_are_told_of_the_end() {
        let results = on_threads(2, |member| {
            if member.rank == 0 {
                std::thread::sleep(SPIN * 20);
                member.collective.close();
                return true;
            }
            matches!(member.exchange(Kind::Broadcast, Vec::new(), &|| None), Err(Lost::Closed))
                && member.collective.abandons(1)
                && !member.collective.abandons(0)
        });
        assert_eq!(results, [true, true]);
    }

    #[test]
    fn a_rank_that_does_not_come_has_stalled() {
        let collective = Collective::new(2, Duration::from_millis(30));
        let mut member = Member::new(collective.clone(), 0);
        let lost = member.exchange(Kind::AllGather, Vec::new(), &|| None);
        let Err(Lost::Failed(message)) = lost else { panic!("{lost:?}") };
        assert!(message.starts_with("instance 1 stalled"), "{message}");
        assert!(collective.abandons(1) && !collective.abandons(0));
    }

    #[test]
    fn rank_0_may_take_its_time_between_steps() {
        let collective = Collective::new(2, Duration::from_millis(1));
        let thread = std::thread::spawn({
            let mut member = Member::new(collective.clone(), 1);
            move || member.exchange(Kind::Broadcast, Vec::new(), &|| None)
        });
        std::thread::sleep(Duration::from_millis(50));
        let mut member = Member::new(collective, 0);
        take(&mut member, Kind::Broadcast, &[5]);
        assert!(matches!(thread.join().expect("ends"), Ok(bytes) if bytes == [5]));
    }

    #[test]
    fn a_waiting_rank_stops_when_it_should() {
        let mut member = Member::new(Collective::new(2, STALL), 0);
        let begin = Instant::now();
        let stopped =
            || (begin.elapsed() > Duration::from_millis(20)).then_some(Stopped::Interrupted);
        let lost = member.exchange(Kind::AllGather, Vec::new(), &stopped);
        assert!(matches!(lost, Err(Lost::Stopped(Stopped::Interrupted))), "{lost:?}");
    }

    #[test]
    fn ranks_out_of_step_are_told_so() {
        let results = on_threads(2, |member| {
            let kind = [Kind::AllGather, Kind::Gather][member.rank];
            // The second exchange fails at the latest: the sender of a gather does not wait.
            member
                .exchange(kind, Vec::new(), &|| None)
                .and_then(|_| member.exchange(Kind::AllGather, Vec::new(), &|| None))
                .is_err()
        });
        assert_eq!(results, [true, true]);
    }
}
