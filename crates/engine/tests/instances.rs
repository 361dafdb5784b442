//! Several instances of the engine, on threads: rank 0 answers, the others serve.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use trefoil_contract::{Error, Event, Part, Prompt, Result, Role, Setting, Value};
use trefoil_engine::{Engine, Generation, Imports, Model, Request, Restoration, advance};
use trefoil_fixtures::{Meeting, TinyLlama, tiny_llama};
use trefoil_gguf::TensorType;

/// Models in memory, and a collective of threads.
struct Member {
    models: Arc<Vec<(Part, Vec<u8>)>>,
    meeting: Arc<Meeting>,
    rank: usize,
    bytes_read: Cell<u64>,
    /// Part that this instance cannot read.
    unreadable: Option<u32>,
}

fn left() -> Error {
    Error::Other { code: "instance".into(), message: "an instance has left".into() }
}

impl Imports for Member {
    fn parts(&self) -> Result<Vec<Part>> {
        Ok(self.models.iter().map(|(part, _)| part.clone()).collect())
    }

    fn read(&self, part: u32, offset: u64, length: u32) -> Result<Vec<u64>> {
        if self.unreadable == Some(part) {
            return Err(Error::Io("the disk is gone".into()));
        }
        let bytes = &self.models[part as usize].1[offset as usize..];
        let bytes = &bytes[..bytes.len().min(length as usize)];
        self.bytes_read.set(self.bytes_read.get() + bytes.len() as u64);
        Ok(trefoil_contract::words(bytes))
    }

    fn configure(&self, _: &[Part]) -> Result<Vec<Setting>, String> {
        assert_eq!(self.rank, 0, "settings come from rank 0");
        Ok(Vec::new())
    }

    fn collective_rank(&self) -> u32 {
        self.rank as u32
    }

    fn collective_size(&self) -> u32 {
        self.meeting.size() as u32
    }

    fn broadcast(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        assert_eq!(bytes.is_empty(), self.rank > 0);
        // Rank 0 leaves when it has ended.
        Ok(self.meeting.all_gather(self.rank, bytes).unwrap_or_default())
    }

    fn all_gather(&self, part: &[u8]) -> Result<Vec<u8>> {
        self.meeting.all_gather(self.rank, part).ok_or_else(left)
    }

    fn gather(&self, part: &[u8]) -> Result<Vec<u8>> {
        let all = self.all_gather(part)?;
        Ok(if self.rank == 0 { all } else { Vec::new() })
    }
}

/// Runs `work` with the engine at rank 0 of `size` instances; answers what it gave, and what the
/// others' `serve` did with the bytes that each has read.
fn together<T>(
    models: &[TinyLlama],
    size: usize,
    unreadable: Option<(usize, u32)>,
    work: impl FnOnce(&Engine) -> T,
) -> (T, Vec<(Result<()>, u64)>) {
    together_in(u64::MAX, models, size, unreadable, work)
}

/// The same where each instance has so many bytes for models.
fn together_in<T>(
    memory_bytes: u64,
    models: &[TinyLlama],
    size: usize,
    unreadable: Option<(usize, u32)>,
    work: impl FnOnce(&Engine) -> T,
) -> (T, Vec<(Result<()>, u64)>) {
    let model = |options: &TinyLlama| {
        let bytes = tiny_llama(options);
        let part = Part {
            name: options.name.clone(),
            role: Role::Weights,
            format: "gguf".into(),
            size: bytes.len() as u64,
            sha256: String::new(),
            license: String::new(),
        };
        (part, bytes)
    };
    let models: Arc<Vec<_>> = Arc::new(models.iter().map(model).collect());
    let meeting = Arc::new(Meeting::new(size));
    let member = |rank| Member {
        models: Arc::clone(&models),
        meeting: Arc::clone(&meeting),
        rank,
        bytes_read: Cell::new(0),
        unreadable: unreadable.filter(|(at, _)| *at == rank).map(|(_, part)| part),
    };
    std::thread::scope(|scope| {
        let follower = |rank| {
            let member = member(rank);
            scope.spawn(move || {
                let member = Rc::new(member);
                let served = Engine::new("cpu", Rc::clone(&member) as Rc<dyn Imports>).serve();
                (served, member.bytes_read.get())
            })
        };
        let followers: Vec<_> = (1..size).map(follower).collect();
        let engine = Engine::new("cpu", Rc::new(member(0))).with_memory(memory_bytes);
        let result = work(&engine);
        meeting.leave();
        (result, followers.into_iter().map(|it| it.join().expect("ends")).collect())
    })
}

fn integer(key: &str, value: i64) -> Setting {
    Setting::new(key, Value::Integer(value))
}

/// Tokens of an answer, sampled.
fn answer(model: &Rc<Model>, prompt: &str) -> Vec<u32> {
    answers(model, prompt, 1).remove(0)
}

/// Tokens of several answers to a prompt.
fn answers(model: &Rc<Model>, prompt: &str, choices: u32) -> Vec<Vec<u32>> {
    answers_with(model, prompt, choices, &[integer("max-tokens", 20)]).0
}

/// The same with more settings; also, how many guesses were right.
fn answers_with(
    model: &Rc<Model>,
    prompt: &str,
    choices: u32,
    settings: &[Setting],
) -> (Vec<Vec<u32>>, u32) {
    let mut request = Request::new(Rc::clone(model), Prompt::Text(prompt.as_bytes().to_vec()));
    request.set(integer("seed", 7));
    settings.iter().cloned().for_each(|setting| request.set(setting));
    request.set_choices(choices);
    let generation = request.start().expect("starts");
    let mut tokens = vec![Vec::new(); choices as usize];
    let mut accepted = 0;
    loop {
        match advance(&[&generation]).remove(0) {
            Ok(Event::Delta(delta)) => tokens[delta.choice as usize].extend(delta.tokens),
            Ok(Event::Done(done)) => accepted += done.usage.accepted_tokens,
            Err(Error::Finished) => return (tokens, accepted),
            event => drop(event.expect("steps")),
        }
    }
}

fn tiny(name: &str, seed: u64) -> TinyLlama {
    TinyLlama { name: name.into(), seed, ..TinyLlama::with_matrices(TensorType::Q4_1) }
}

#[test]
fn a_dialogue_with_any_number_of_instances_is_the_same() {
    let talk = |engine: &Engine| {
        let pooling = Setting::new("pooling", Value::Text("mean".into()));
        engine.configure(vec![integer("prefill-tokens", 8), pooling]).expect("valid");
        let model = engine.open(None).expect("opens");
        let prompt = "Once upon a time there was a model in three pieces";
        let first = answer(&model, prompt);
        // The second prompt shares its beginning with the first: caches are truncated.
        let second = answer(&model, "Once upon a time there were two");
        let bits = |numbers: Vec<f32>| numbers.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let logits = bits(model.logits(&[3, 1, 4, 1, 5]).expect("computes"));
        let vector = bits(model.embed(&[5; 20]).expect("computes"));
        let choices = answers(&model, "Twice", 3);
        (
            first,
            second,
            choices,
            logits,
            bits(model.score(&[2, 7, 1, 8]).expect("computes")),
            vector,
        )
    };
    let expected = together(&[tiny("a", 1)], 1, None, talk).0;
    for size in 2..=5 {
        let (found, served) = together(&[tiny("a", 1)], size, None, talk);
        assert!(found == expected, "{size} instances");
        assert!(served.iter().all(|(served, _)| *served == Ok(())), "{served:?}");
    }
}

#[test]
fn guesses_change_no_token_with_any_number_of_instances() {
    let window = ("llama.attention.sliding_window".into(), 20u32.into());
    let windowed = TinyLlama { values: vec![window], ..tiny("b", 2) };
    for options in [tiny("a", 1), windowed] {
        let talk = |lookup: &'static [i64]| {
            move |engine: &Engine| {
                let model = engine.open(None).expect("opens");
                let ask = |temperature: f64| {
                    let mut settings = vec![integer("max-tokens", 60)];
                    settings.push(Setting::new("temperature", Value::Number(temperature)));
                    for (key, value) in ["lookup-tokens", "lookup-ngram"].iter().zip(lookup) {
                        settings.push(integer(key, *value));
                    }
                    answers_with(&model, "one two one two one two", 2, &settings)
                };
                [0.0, 0.3, 1.0].map(ask)
            }
        };
        let models = [options];
        let expected = together(&models, 1, None, talk(&[])).0;
        for size in 1..=3 {
            let (found, served) = together(&models, size, None, talk(&[6, 1]));
            for ((tokens, accepted), (expected, _)) in found.iter().zip(&expected) {
                assert!(tokens == expected, "{size} instances");
                assert!(*accepted > 0, "{size} instances");
            }
            assert!(served.iter().all(|(served, _)| *served == Ok(())), "{served:?}");
        }
    }
}

#[test]
fn an_answer_goes_on_in_any_number_of_instances() {
    let begin = |engine: &Engine| {
        let model = engine.open(None).expect("opens");
        let mut request = Request::new(Rc::clone(&model), Prompt::Text([b'a'; 70].to_vec()));
        request.set(integer("max-tokens", 30));
        let generation = request.start().expect("starts");
        (0..9).for_each(|_| drop(generation.next().expect("steps")));
        let snapshot = generation.snapshot().expect("a snapshot");
        let bytes = snapshot.read(0, 1 << 20).expect("bytes");
        assert_eq!(bytes.len() as u64, snapshot.size());
        let fork = generation.fork().expect("a place").start().expect("starts");
        let events = rest(&generation);
        assert_eq!(rest(&fork), events);
        (bytes, events)
    };
    let models = [tiny("a", 1)];
    let (bytes, expected) = together(&models, 1, None, begin).0;
    for size in [1, 3, 5] {
        let (found, served) = together(&models, size, None, begin);
        assert!(found.0 == bytes && found.1 == expected, "{size} instances");
        assert!(served.iter().all(|(served, _)| *served == Ok(())), "{served:?}");
        let (found, served) = together(&models, size, None, |engine| {
            let model = engine.open(None).expect("opens");
            answer(&model, "others have been here");
            let begin = || Restoration::begin(Rc::clone(&model), bytes.len() as u64);
            // One that is damaged, one that is given up, and one that goes on.
            let mut damaged = bytes.clone();
            *damaged.last_mut().expect("a digest") ^= 1;
            let restoration = begin().expect("begins");
            restoration.write(&damaged).expect("pages");
            assert!(matches!(restoration.finish(), Err(Error::InvalidArgument(_))));
            begin().expect("begins").write(&bytes[..bytes.len() / 2]).expect("pages");
            let restoration = begin().expect("begins");
            bytes.chunks(999).for_each(|piece| restoration.write(piece).expect("good"));
            rest(&restoration.finish().expect("whole").start().expect("starts"))
        });
        assert!(found == expected, "{size} instances");
        assert!(served.iter().all(|(served, _)| *served == Ok(())), "{served:?}");
    }
}

/// All events that are left.
fn rest(generation: &Generation) -> Vec<Event> {
    let mut events = Vec::new();
    while let Ok(event) = generation.next() {
        events.push(event);
    }
    events
}

#[test]
fn models_come_and_go_on_all_instances() {
    let models = [tiny("a", 1), tiny("b", 2)];
    let work = |engine: &Engine| {
        let a = engine.open(Some("a")).expect("opens");
        let b = engine.open(Some("b")).expect("opens");
        let mut answers = vec![answer(&a, "x"), answer(&b, "x")];
        drop(a);
        answers.push(answer(&b, "x"));
        for _ in 0..3 {
            answers.push(answer(&engine.open(Some("a")).expect("opens"), "x"));
        }
        answers
    };
    let expected = together(&models, 1, None, work).0;
    assert_eq!(expected[0], expected[5]);
    let (found, served) = together(&models, 3, None, work);
    assert_eq!(found, expected);
    assert!(served.iter().all(|(served, _)| *served == Ok(())), "{served:?}");
}

#[test]
fn a_model_that_one_instance_cannot_load_is_open_on_none_and_others_still_are() {
    let models = [tiny("a", 1), tiny("b", 2)];
    let (errors, served) = together(&models, 3, Some((2, 0)), |engine| {
        let error = engine.open(Some("a")).err().map(|error| error.to_string());
        let model = engine.open(Some("b")).expect("opens");
        assert!(!answer(&model, "x").is_empty());
        error
    });
    let text = errors.expect("refused");
    assert!(text.contains("instance 2 failed") && text.contains("the disk is gone"), "{text}");
    assert!(served.iter().all(|(served, _)| *served == Ok(())), "{served:?}");
    // What rank 0 cannot load is told to the others as well.
    let broken = TinyLlama { omitted_keys: vec!["tokenizer.ggml.model".into()], ..tiny("a", 1) };
    let (opened, served) = together(&[broken, tiny("b", 2)], 2, None, |engine| {
        (engine.open(None).is_ok(), engine.open(Some("b")).is_ok())
    });
    assert_eq!(opened, (false, true));
    assert!(served.iter().all(|(served, _)| *served == Ok(())), "{served:?}");
}

#[test]
fn an_instance_that_leaves_is_an_error_of_the_step_and_of_all_later_ones() {
    let meeting = Arc::new(Meeting::new(2));
    let leaver = Arc::clone(&meeting);
    let bytes = tiny_llama(&tiny("a", 1));
    let part = Part {
        name: "a".into(),
        role: Role::Weights,
        format: "gguf".into(),
        size: bytes.len() as u64,
        sha256: String::new(),
        license: String::new(),
    };
    let member = Member {
        models: Arc::new(vec![(part, bytes)]),
        meeting,
        rank: 0,
        bytes_read: Cell::new(0),
        unreadable: None,
    };
    let engine = Engine::new("cpu", Rc::new(member));
    let thread = std::thread::spawn(move || {
        // The step that opens, and that it went well; then a step, and it is gone.
        for _ in 0..3 {
            leaver.all_gather(1, &[]);
        }
        leaver.leave();
    });
    let model = engine.open(None).expect("opens");
    for _ in 0..2 {
        let error = model.logits(&[1, 2, 3]).expect_err("fails");
        assert!(matches!(&error, Error::Other { code, .. } if code == "instance"), "{error}");
    }
    thread.join().expect("ends");
}

#[test]
fn only_rank_0_leads_and_only_the_others_serve() {
    let ((), served) = together(&[tiny("a", 1)], 2, None, |engine| {
        assert!(matches!(engine.serve(), Err(Error::InvalidArgument(_))));
    });
    assert_eq!(served[0].0, Ok(()));
    assert_eq!(served[0].1, 0, "nothing is read before rank 0 opens a model");
}

#[test]
fn the_context_is_what_fits_every_instance() {
    let model = TinyLlama { context_tokens: 10_000, ..tiny("long", 1) };
    let contexts = [1, 2].map(|size| {
        let (context, served) =
            together_in(3 << 20, std::slice::from_ref(&model), size, None, |engine| {
                engine.configure(vec![integer("context-tokens", 8000)]).expect("a good setting");
                let error = engine.open(None).map(|_| ()).expect_err("too little memory");
                assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
                assert!(error.to_string().contains("8000 tokens"), "{error}");
                engine.configure(vec![integer("context-tokens", 0)]).expect("a good setting");
                let model = engine.open(None).expect("a shorter context");
                answer(&model, "hello");
                model.info().context_tokens
            });
        assert!(served.iter().all(|(result, _)| result.is_ok()), "{served:?}");
        context
    });
    // Two instances have a KV head each, and half of the weights.
    assert!((2000..4000).contains(&contexts[0]), "{contexts:?}");
    assert!((2 * contexts[0]..8000).contains(&contexts[1]), "{contexts:?}");
}
