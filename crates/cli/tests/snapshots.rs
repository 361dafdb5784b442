//! Saved, restored and forked generations through the host, as programs in Rust use them.

mod support;

use support::Place;
use trefoil_contract::{Event, Prompt, Request, Setting, Value};
use trefoil_host::{
    CallError, Generation, Inference, Interrupt, Program, RunOptions, Runtime, Snapshot,
};

struct Host {
    runtime: Runtime,
    program: Program,
}

impl Host {
    fn new(place: &Place) -> Self {
        let compose = ["compose", "--engine", "cpu", "--model", "tiny.gguf", "-o", "plug-in.wasm"];
        place.run(&compose).succeeded();
        let runtime = Runtime::new().expect("a runtime");
        let path = place.path("plug-in.wasm");
        let program = Program::load(&runtime, &path, None, &Interrupt::new(), &mut |_| {});
        let program = program.expect("compiles");
        Host { runtime, program }
    }

    fn open(&self) -> Inference {
        let settings = [Setting::new("sequences-max", Value::Integer(4))];
        let options = RunOptions::default();
        Inference::open(&self.runtime, &self.program, &options, &settings, None).expect("opens")
    }
}

/// An answer whose tokens are chosen at random.
fn request() -> Request {
    let mut request = Request::new(Prompt::Text(b"hello".to_vec()));
    request.settings = vec![
        Setting::new("max-tokens", Value::Integer(16)),
        Setting::new("temperature", Value::Number(0.9)),
        Setting::new("seed", Value::Integer(3)),
    ];
    request
}

/// The tokens of so many steps that bring some, or of all.
fn tokens(inference: &mut Inference, generation: &Generation, steps: usize) -> Vec<u32> {
    let (mut tokens, mut brought) = (Vec::new(), 0);
    while brought < steps {
        let event = inference.advance(&[generation]).expect("runs").remove(0).expect("goes on");
        match event {
            Event::Delta(delta) => {
                tokens.extend(delta.tokens);
                brought += 1;
            }
            Event::Done(_) => break,
            _ => {}
        }
    }
    tokens
}

fn bytes(inference: &mut Inference, snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < snapshot.size() {
        let piece = inference.read(snapshot, bytes.len() as u64, 1000).expect("reads");
        assert!(!piece.is_empty(), "{} of {} bytes", bytes.len(), snapshot.size());
        bytes.extend(piece);
    }
    bytes
}

fn restored(inference: &mut Inference, bytes: &[u8]) -> Result<Generation, CallError> {
    let restoration = inference.restore(bytes.len() as u64)?;
    for piece in bytes.chunks(777) {
        if let Err(error) = inference.write(&restoration, piece) {
            inference.abandon(restoration)?;
            return Err(error);
        }
    }
    inference.resume(restoration, &[])
}

#[test]
fn a_generation_goes_on_as_if_it_had_never_been_saved_or_forked() {
    let host = Host::new(&Place::with_model());
    let mut inference = host.open();
    let whole = inference.start(request()).expect("starts");
    let expected = tokens(&mut inference, &whole, usize::MAX);
    assert_eq!(expected.len(), 16);

    let generation = inference.start(request()).expect("starts");
    assert_eq!(tokens(&mut inference, &generation, 5), expected[..5]);
    let snapshot = inference.snapshot(&generation).expect("is saved");
    let saved = bytes(&mut inference, &snapshot);
    inference.close(snapshot).expect("is closed");
    let fork = inference.fork(&generation, &[]).expect("is forked");
    assert_eq!(tokens(&mut inference, &fork, usize::MAX), expected[5..]);
    assert_eq!(tokens(&mut inference, &generation, usize::MAX), expected[5..]);

    let mut later = host.open();
    let restored = restored(&mut later, &saved).expect("is restored");
    assert_eq!(tokens(&mut later, &restored, usize::MAX), expected[5..]);
}

#[test]
fn a_damaged_snapshot_is_refused_and_the_instance_goes_on() {
    let host = Host::new(&Place::with_model());
    let mut inference = host.open();
    let generation = inference.start(request()).expect("starts");
    tokens(&mut inference, &generation, 3);
    let snapshot = inference.snapshot(&generation).expect("is saved");
    let saved = bytes(&mut inference, &snapshot);
    for place in [0, 40, saved.len() / 2, saved.len() - 1] {
        let mut damaged = saved.clone();
        damaged[place] ^= 1;
        let refused = restored(&mut inference, &damaged).err();
        assert!(matches!(refused, Some(CallError::Refused(_))), "byte {place}: {refused:?}");
    }
    let given_up = inference.restore(saved.len() as u64).expect("begins");
    inference.write(&given_up, &saved[..100]).expect("takes bytes");
    inference.abandon(given_up).expect("is given up");
    assert!(restored(&mut inference, &saved).is_ok());
}
