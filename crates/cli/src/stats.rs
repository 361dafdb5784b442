//! What `--stats` and the loading bar show of a guest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use trefoil_host::{Gauges, Outcome, Program};

use crate::session::Session;

/// How often the loading bar moves. It appears only after as long, so that short loads show none.
const INTERVAL: Duration = Duration::from_millis(150);

/// Gauges of a guest that loads a model of about `model_bytes`: until its first output a bar shows
/// how much of its memory is there. Call the returned function when loading has ended otherwise.
pub(crate) fn loading(session: &Session, model_bytes: u64) -> (Arc<Gauges>, impl Fn() + use<>) {
    let over = Arc::new(AtomicBool::new(false));
    let bar = session.terminal.bar("loading model", model_bytes);
    let end = {
        let (over, bar) = (over.clone(), bar.clone());
        move || {
            over.store(true, Ordering::Release);
            bar.finish_and_clear();
        }
    };
    let gauges = Arc::new(Gauges::new(end.clone()));
    if !bar.is_hidden() && model_bytes > 0 {
        let gauges = gauges.clone();
        // Without the thread there is no bar, which is all.
        let _ = std::thread::Builder::new().spawn(move || {
            loop {
                std::thread::sleep(INTERVAL);
                if over.load(Ordering::Acquire) {
                    break;
                }
                // Weights are not all that a guest holds, so this is an estimate.
                bar.set_position(gauges.memory_bytes().min(model_bytes));
            }
        });
    }
    (gauges, end)
}

/// What the host knows; token figures come from the app itself.
pub(crate) fn report(
    session: &Session,
    begin: Instant,
    program: &Program,
    gauges: &Gauges,
    instances: u32,
    outcome: Option<&Outcome>,
) {
    let timings = program.timings();
    let ms = |duration: Duration| format!("{:.1} ms", duration.as_secs_f64() * 1e3);
    let mut parts = vec![format!("digest {}", ms(timings.digest))];
    parts.push(match timings.compile {
        Some(compile) => format!("compile {}", ms(compile)),
        None => "compile cached".into(),
    });
    parts.push(format!("map {}", ms(timings.map)));
    if let Some(outcome) = outcome {
        parts.push(format!("instantiate {}", ms(outcome.instantiate)));
    }
    if let Some(first) = gauges.first_output_since(begin) {
        parts.push(format!("first output after {}", ms(first)));
    }
    if instances > 1 {
        parts.push(format!("{instances} instances"));
    }
    parts.push(format!("guest memory {:.1} MiB", gauges.memory_bytes() as f64 / 1_048_576.0));
    parts.push(format!("total {:.2} s", begin.elapsed().as_secs_f64()));
    session.terminal.report(&format!("host: {}", parts.join(", ")));
}
