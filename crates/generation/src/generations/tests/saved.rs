//! Generations that go on elsewhere, later, or twice.

use proptest::prelude::*;
use trefoil_contract::{Error, Event, ResponseFormat, Result};
use trefoil_settings::RequestSettings;

use super::super::{GenerationId, GenerationOptions, READ_BYTES_MAX, Restoration, Snapshot};
use super::lookup::{Course, course, wishes, with_lookup};
use super::{Fake, generations, never_ends, run, settings, single, start, step, usage};

type Name = (&'static str, String);

fn identity() -> Vec<Name> {
    vec![("engine", "fake 1".into()), ("model", "tokens".into())]
}

/// All events that are left. An answer that fails is left.
fn rest(generations: &mut Fake, id: GenerationId) -> Vec<Result<Event>> {
    let mut events = Vec::new();
    loop {
        let event = step(generations, id);
        let ends = event.is_err();
        events.push(event);
        if ends {
            generations.cancel(id);
            return events;
        }
    }
}

fn read(generations: &mut Fake, snapshot: &mut Snapshot, piece: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = generations.read_snapshot(snapshot, bytes.len() as u64, piece).expect("bytes");
        assert!(more.len() == piece || bytes.len() as u64 + more.len() as u64 == snapshot.size());
        if more.is_empty() {
            return bytes;
        }
        bytes.extend(more);
    }
}

fn snapshot(generations: &mut Fake, id: GenerationId) -> Vec<u8> {
    let mut snapshot = generations.snapshot(id, &identity()).expect("a snapshot");
    read(generations, &mut snapshot, 1000)
}

fn restore(generations: &mut Fake, bytes: &[u8], piece: usize) -> Result<GenerationId> {
    restore_as(generations, bytes, piece, &identity(), |_| ())
}

/// With a look at the restoration before each piece.
fn restore_as(
    generations: &mut Fake,
    bytes: &[u8],
    piece: usize,
    identity: &[Name],
    mut look: impl FnMut(&Restoration),
) -> Result<GenerationId> {
    let mut restoration = generations.begin_restoration(bytes.len() as u64, identity)?;
    for piece in bytes.chunks(piece) {
        look(&restoration);
        if let Err(error) = generations.write_restoration(&mut restoration, piece) {
            // It does not recover.
            let again = generations.write_restoration(&mut restoration, piece);
            assert_eq!(again, Err(error.clone()));
            assert_eq!(generations.finish_restoration(restoration).err(), Some(error.clone()));
            return Err(error);
        }
    }
    let (saved, slot) = generations.finish_restoration(restoration)?;
    let resumed = generations.resume(&saved, &slot);
    if resumed.is_err() {
        generations.release(slot);
    }
    resumed
}

proptest! {
    #[test]
    fn a_generation_goes_on_elsewhere_as_if_nothing_had_been(
        course in course(),
        wishes in wishes(),
        lookup in (0u32..9, 1u32..3),
        steps in 0usize..40,
        pieces in (1usize..300, 1usize..300),
        others in prop::collection::vec(6u32..9, 1..12),
    ) {
        let course = Course { choices: 1, cached_tokens_max: None, ..course };
        let wishes = with_lookup(&wishes, lookup.0, lookup.1);
        let (mut here, _, ids) = course.begin(&wishes);
        for _ in 0..steps {
            prop_assume!(step(&mut here, ids[0]).is_ok());
        }
        let Ok(mut saved) = here.snapshot(ids[0], &identity()) else {
            prop_assert_eq!(step(&mut here, ids[0]), Err(Error::Finished));
            return Ok(());
        };
        let bytes = read(&mut here, &mut saved, pieces.0);
        prop_assert_eq!(bytes.len() as u64, saved.size());
        // Out of order it is the same.
        let end = here.read_snapshot(&mut saved, 10, READ_BYTES_MAX);
        prop_assert_eq!(end.as_deref(), Ok(&bytes[10..]));
        let end = bytes.len() - 7;
        let mut fresh = here.snapshot(ids[0], &identity()).expect("another one");
        let tail = here.read_snapshot(&mut fresh, end as u64, 100);
        prop_assert_eq!(tail.as_deref(), Ok(&bytes[end..]));
        // A place where others have been, and are.
        let (mut there, seen) = course.place();
        if others.len() < course.context_tokens as usize {
            let one = settings(|s| s.max_tokens = 1);
            let id = start(&mut there, &others, &one);
            usage(&mut there, id);
            start(&mut there, &others, &one);
        }
        let active = there.active();
        let resumed = restore(&mut there, &bytes, pieces.1).expect("restored");
        prop_assert_eq!(there.active(), active + 1);
        let forked = here.fork(ids[0]).and_then(|(saved, slot)| here.resume(&saved, &slot));
        let forked = forked.expect("a place for a second one");
        let expected = rest(&mut here, ids[0]);
        let computed = seen.borrow().computed_tokens;
        prop_assert_eq!(&rest(&mut there, resumed), &expected);
        let tokens = expected.iter().filter(|event| matches!(event, Ok(Event::Delta(_)))).count();
        // No token of what was there is computed again, unless something is given up anyway.
        if course.cut_tokens_max.is_none() && !wishes.shifts_context && steps > course.prompt.len() {
            prop_assert!(seen.borrow().computed_tokens - computed <= tokens + wishes.lookup_tokens as usize * tokens);
        }
        prop_assert_eq!(&rest(&mut here, forked), &expected);
        prop_assert_eq!(there.active(), active);
    }

    #[test]
    fn damaged_snapshots_are_refused_and_hold_no_place(
        wishes in wishes(),
        place in any::<prop::sample::Index>(),
        change in 1u8..,
        piece in 1usize..400,
    ) {
        let (mut generations, _) = generations(2, 100, 20);
        let id = start(&mut generations, &[6, 7, 8, 9, 10], &with_lookup(&wishes, 4, 1));
        (0..4).for_each(|_| drop(step(&mut generations, id)));
        prop_assume!(generations.active() == 1);
        let mut bytes = snapshot(&mut generations, id);
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        let error = restore(&mut generations, &bytes, piece);
        prop_assert!(error.is_err(), "byte {place}");
        prop_assert_eq!(generations.active(), 1);
        bytes[place] ^= change;
        bytes.truncate(place);
        prop_assert!(restore(&mut generations, &bytes, piece).is_err(), "{place} bytes");
        prop_assert_eq!(generations.active(), 1);
    }
}

#[test]
fn every_byte_counts() {
    let (mut generations, seen) = generations(2, 100, 20);
    let options = GenerationOptions {
        log_probabilities: Some(1),
        response_format: ResponseFormat::Regex("[a-f]{30}".into()),
        ..never_ends()
    };
    let lookup = settings(|s| (s.lookup_tokens, s.lookup_ngram, s.temperature) = (6, 1, 0.0));
    seen.borrow_mut().memory_tokens = Some(1);
    let id = generations.start(vec![6, 7, 8], &lookup, &options).expect("started");
    // Until events wait.
    while generations.save(id).expect("saved").events.is_empty() {
        step(&mut generations, id).expect("steps");
    }
    let bytes = snapshot(&mut generations, id);
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (place % 8);
        assert!(restore(&mut generations, &damaged, 10_000).is_err(), "byte {place}");
    }
    assert_eq!(generations.active(), 1);
    assert!(restore(&mut generations, &bytes, 10_000).is_ok());
}

#[test]
fn what_does_not_belong_here_is_refused_by_name() {
    let (mut here, _) = generations(2, 100, 20);
    let wishes = settings(|s| s.max_tokens = 9);
    let id = here.start(vec![6; 30], &wishes, &never_ends()).expect("started");
    step(&mut here, id).expect("steps");
    step(&mut here, id).expect("steps");
    let bytes = snapshot(&mut here, id);
    let refused = |bytes: &[u8], identity: &[Name], context_tokens| {
        let (mut there, _) = generations(1, context_tokens, 20);
        let error = restore_as(&mut there, bytes, 100, identity, |_| ()).expect_err("refused");
        assert_eq!(there.active(), 0);
        error.to_string()
    };
    let changed = |place: usize, value: &str| {
        let mut identity = identity();
        identity[place].1 = value.into();
        refused(&bytes, &identity, 100)
    };
    let text = changed(0, "fake 2");
    assert!(text.contains("another engine") && text.contains("`fake 1`"), "{text}");
    let text = changed(1, "other");
    assert!(text.contains("another model") && text.contains("`other`"), "{text}");
    let text = refused(&bytes, &identity()[..1], 100);
    assert!(text.contains("identity"), "{text}");
    let text = refused(&bytes, &identity(), 20);
    assert!(text.contains("31 tokens do not fit") && text.contains("20"), "{text}");
    let mut other = bytes.clone();
    other[8] = 9;
    let text = refused(&other, &identity(), 100);
    assert!(text.contains("version 9"), "{text}");
    let text = refused(&[0; 100], &identity(), 100);
    assert!(text.contains("no snapshot"), "{text}");
    let text = refused(&bytes[..40], &identity(), 100);
    assert!(text.contains("40 bytes"), "{text}");
    let text = refused(&bytes[..bytes.len() - 1], &identity(), 100);
    assert!(text.contains("pages"), "{text}");
    let text = refused(&[&bytes[..], &[0; 16]].concat(), &identity(), 100);
    assert!(text.contains("pages"), "{text}");
}

#[test]
fn a_restoration_that_stops_or_gets_too_much_is_refused() {
    let (mut generations, _) = generations(3, 100, 20);
    let id = generations.start(vec![6; 9], &settings(|_| ()), &never_ends()).expect("started");
    step(&mut generations, id).expect("steps");
    let bytes = snapshot(&mut generations, id);
    let begin = |generations: &Fake| {
        generations.begin_restoration(bytes.len() as u64, &identity()).expect("begun")
    };
    let mut restoration = begin(&generations);
    generations.write_restoration(&mut restoration, &bytes[..bytes.len() - 1]).expect("good");
    assert_eq!(generations.active(), 2);
    let Err(Error::InvalidArgument(text)) = generations.finish_restoration(restoration) else {
        panic!("accepted")
    };
    assert!(text.starts_with("only "), "{text}");
    assert_eq!(generations.active(), 1);
    let mut restoration = begin(&generations);
    generations.write_restoration(&mut restoration, &bytes).expect("good");
    let Err(Error::InvalidArgument(text)) = generations.write_restoration(&mut restoration, &[0])
    else {
        panic!("accepted")
    };
    assert!(text.contains("more bytes"), "{text}");
    assert_eq!(generations.active(), 1);
    let mut restoration = begin(&generations);
    let large = vec![0; READ_BYTES_MAX + 1];
    assert!(generations.write_restoration(&mut restoration, &large).is_err());
    let mut restoration = begin(&generations);
    generations.write_restoration(&mut restoration, &bytes).expect("good");
    generations.abandon_restoration(restoration);
    assert_eq!(generations.active(), 1);
    // All places are taken.
    let others = [7, 8].map(|token| start(&mut generations, &[token], &settings(|_| ())));
    assert!(matches!(restore(&mut generations, &bytes, 100), Err(Error::Busy(_))));
    assert!(matches!(generations.fork(id), Err(Error::Busy(_))));
    others.into_iter().for_each(|id| generations.cancel(id));
    assert!(restore(&mut generations, &bytes, 100).is_ok());
}

#[test]
fn a_snapshot_is_read_before_the_next_step() {
    let (mut generations, _) = generations(1, 100, 20);
    let id = generations.start(vec![6; 9], &settings(|_| ()), &never_ends()).expect("started");
    step(&mut generations, id).expect("steps");
    let mut snapshot = generations.snapshot(id, &identity()).expect("a snapshot");
    assert!(generations.read_snapshot(&mut snapshot, 0, READ_BYTES_MAX + 1).is_err());
    let size = snapshot.size();
    assert_eq!(generations.read_snapshot(&mut snapshot, size, 9), Ok(vec![]));
    assert_eq!(generations.read_snapshot(&mut snapshot, u64::MAX, 9), Ok(vec![]));
    step(&mut generations, id).expect("steps");
    let error = generations.read_snapshot(&mut snapshot, 0, 9).expect_err("too late").to_string();
    assert!(error.contains("has gone on"), "{error}");
    generations.cancel(id);
    assert!(generations.read_snapshot(&mut snapshot, 0, 9).is_err());
    assert_eq!(generations.snapshot(id, &identity()).err(), Some(Error::Finished));
    assert_eq!(generations.fork(id).err(), Some(Error::Finished));
}

#[test]
fn a_second_answer_may_go_on_otherwise() {
    let (mut generations, seen) = generations(3, 100, 20);
    let wishes = settings(|s| (s.max_tokens, s.mirostat) = (20, 2));
    let id = generations.start(vec![6; 9], &wishes, &never_ends()).expect("started");
    (0..5).for_each(|_| drop(step(&mut generations, id).expect("steps")));
    let tokens = generations.save(id).expect("saved").tokens;
    let fork = |generations: &mut Fake, change: &dyn Fn(&mut RequestSettings), reseeds| {
        let (mut saved, slot) = generations.fork(id).expect("a place");
        let mut settings = saved.settings().clone();
        change(&mut settings);
        saved.set_settings(settings, reseeds);
        let resumed = generations.resume(&saved, &slot);
        match resumed {
            Ok(id) => Ok(run(generations, id)),
            Err(error) => {
                generations.release(slot);
                Err(error)
            }
        }
    };
    let same = fork(&mut generations, &|_| (), false).expect("goes on");
    let computed = seen.borrow().computed_tokens;
    let greedy = fork(&mut generations, &|s| (s.temperature, s.mirostat) = (0.0, 0), false);
    assert_eq!(seen.borrow().computed_tokens - computed, 15);
    // What a prompt of the tokens so far would go on with.
    let plain = settings(|s| (s.temperature, s.max_tokens) = (0.0, 15));
    let id_of_plain = generations.start(tokens, &plain, &never_ends()).expect("started");
    assert_eq!(greedy.expect("goes on").tokens, run(&mut generations, id_of_plain).tokens);
    let reseeded = fork(&mut generations, &|s| s.seed = 99, true).expect("goes on");
    assert_ne!(reseeded.tokens, same.tokens);
    let other_seed = fork(&mut generations, &|s| s.seed = 99, false).expect("goes on");
    assert_eq!(other_seed, same);
    let stopped = generations.save(id).expect("saved");
    let text: String = single_text(&stopped.generated);
    let stop = text.chars().next().expect("a text").to_string();
    let error = fork(&mut generations, &|s| s.stop = vec![stop.clone()], false);
    let error = error.expect_err("it is there already").to_string();
    assert!(error.contains("has ended already"), "{error}");
    assert_eq!(generations.active(), 1);
    assert_eq!(run(&mut generations, id).tokens, same.tokens);
}

fn single_text(tokens: &[u32]) -> String {
    use super::super::fake::FakeVocabulary;
    use crate::Vocabulary as _;
    let bytes = tokens.iter().flat_map(|token| FakeVocabulary.token_bytes(*token).unwrap_or(b""));
    String::from_utf8_lossy(&bytes.copied().collect::<Vec<_>>()).into_owned()
}

#[test]
fn a_copy_that_does_not_fit_is_refused_and_holds_no_place() {
    let (mut generations, seen) = generations(2, 100, 20);
    let wishes = settings(|s| s.max_tokens = 9);
    let id = generations.start(vec![6; 9], &wishes, &never_ends()).expect("started");
    step(&mut generations, id).expect("steps");
    seen.borrow_mut().cannot_copy = true;
    assert!(matches!(generations.fork(id), Err(Error::OutOfMemory { .. })));
    assert_eq!(generations.active(), 1);
    let bytes = snapshot(&mut generations, id);
    seen.borrow_mut().cached_tokens_max = Some(9 + 8);
    assert!(matches!(restore(&mut generations, &bytes, 50), Err(Error::OutOfMemory { .. })));
    assert_eq!(generations.active(), 1);
    let answer = run(&mut generations, id).tokens;
    // A cache that nobody uses makes room.
    let resumed = restore(&mut generations, &bytes, 50).expect("restored");
    let mut rest = run(&mut generations, resumed).tokens;
    rest.insert(0, single(&[6; 9], &wishes, 100).tokens[0]);
    assert_eq!(rest.len(), answer.len() + 1);
    assert_eq!(rest[1..], answer);
}
