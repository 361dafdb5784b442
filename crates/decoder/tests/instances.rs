//! Several instances that compute one model together: the same bits as one.
#![allow(clippy::expect_used)]

mod member;

use std::cell::Cell;
use std::sync::Arc;

use member::Member;
use trefoil_contract::{Error, Result};
use trefoil_decoder::{CacheType, Decoder, Options, agree};
use trefoil_fixtures::{Meeting, TinyLlama, golden, tiny_llama};
use trefoil_generation::{Forward, Logits, Span};
use trefoil_gguf::{Gguf, Source, TensorType};

const TYPES: [TensorType; 5] =
    [TensorType::F32, TensorType::F16, TensorType::Q4_0, TensorType::Q4_1, TensorType::Q8_0];

const TOKENS: [u32; 23] = [
    72, 101, 108, 259, 111, 44, 32, 119, 111, 260, 108, 100, 33, 10, 0, 255, 7, 7, 7, 256, 99, 3,
    250,
];

/// Counts the bytes that are read.
struct Counting<'a> {
    file: &'a [u8],
    bytes: Cell<u64>,
}

impl Source for Counting<'_> {
    fn size(&self) -> u64 {
        self.file.size()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        self.bytes.set(self.bytes.get() + buffer.len() as u64);
        self.file.read_at(offset, buffer)
    }
}

const OPTIONS: Options =
    Options { context_tokens: 0, sequences_max: 3, kv_cache_type: CacheType::F16 };

/// Does the same in each of `size` instances. Answers what each gave.
fn together<T: Send>(
    file: &[u8],
    size: usize,
    work: impl Fn(&mut dyn Forward) -> T + Sync,
) -> Vec<T> {
    let meeting = Arc::new(Meeting::new(size));
    std::thread::scope(|scope| {
        let instance = |rank| {
            let (meeting, work) = (Arc::clone(&meeting), &work);
            scope.spawn(move || {
                let gguf = Gguf::read(&file).expect("a well-formed file");
                let exchange = Member { meeting, rank };
                let decoder = Decoder::load_share(&gguf, &file, &[], OPTIONS, Some(exchange));
                work(&mut decoder.expect("a model"))
            })
        };
        let threads: Vec<_> = (0..size).map(instance).collect();
        threads.into_iter().map(|thread| thread.join().expect("ends")).collect()
    })
}

fn span(sequence: usize, position: u32, tokens: &[u32], logits: Logits) -> Span<'_> {
    Span { sequence, position, tokens, logits }
}

/// A prompt in two chunks, single tokens, a batch of three sequences, a truncation, and a
/// copy: the bits of
/// all logits.
fn conversation(decoder: &mut dyn Forward) -> Vec<u32> {
    let mut bits = Vec::new();
    let mut step = |batch: &[Span<'_>]| {
        let mut logits = Vec::new();
        decoder.forward(batch, &mut logits).expect("a good batch");
        bits.extend(logits.iter().map(|logit| logit.to_bits()));
    };
    step(&[span(0, 0, &TOKENS[..9], Logits::None)]);
    step(&[span(0, 9, &TOKENS[9..], Logits::All)]);
    step(&[span(0, 23, &[7], Logits::Last)]);
    step(&[
        span(2, 0, &TOKENS[3..8], Logits::All),
        span(0, 24, &[9], Logits::Last),
        span(1, 0, &TOKENS[..1], Logits::None),
    ]);
    step(&[span(1, 1, &[11], Logits::Last), span(2, 5, &[12], Logits::Last)]);
    step(&[span(0, 4, &TOKENS[4..6], Logits::All)]);
    decoder.copy(0, 2).expect("memory for a copy");
    let mut logits = Vec::new();
    decoder.forward(&[span(2, 6, &[5], Logits::Last)], &mut logits).expect("a good batch");
    bits.extend(logits.iter().map(|logit| logit.to_bits()));
    bits
}

#[test]
fn any_number_of_instances_gives_the_same_bits() {
    let shapes = [(4, 2, 64, 160), (9, 3, 288, 96), (6, 2, 96, 64), (1, 1, 32, 32)];
    for (index, (heads, kv_heads, embedding_length, feed_forward_length)) in
        shapes.into_iter().enumerate()
    {
        for matrices in TYPES {
            let file = tiny_llama(&TinyLlama {
                matrices,
                heads,
                kv_heads,
                embedding_length,
                feed_forward_length,
                tied: index % 2 == 0,
                ..TinyLlama::default()
            });
            let gguf = Gguf::read(&file).expect("a well-formed file");
            let alone = Decoder::load(&gguf, &file, OPTIONS);
            let expected = conversation(&mut alone.expect("a model"));
            for size in 1..=5 {
                let found = together(&file, size, conversation);
                assert!(
                    found[0] == expected,
                    "{size} instances differ from one: {heads} heads, {}",
                    matrices.name()
                );
            }
        }
    }
}

#[test]
fn every_architecture_has_the_same_bits_in_several_instances() {
    for model in golden::architectures() {
        let gguf = Gguf::read(&model.file).expect("a well-formed file");
        let alone = Decoder::load(&gguf, &model.file, OPTIONS);
        let expected = conversation(&mut alone.expect("a model"));
        for size in [2, 3, 5] {
            let found = together(&model.file, size, conversation);
            assert!(found[0] == expected, "{size} instances differ from one: {}", model.name);
        }
    }
}

#[test]
fn every_instance_gives_up_what_windows_leave_behind() {
    let text: Vec<u32> = (2..242).chain(2..102).collect();
    for model in golden::architectures().iter().filter(|it| it.name.ends_with("-window")) {
        let work = |decoder: &mut dyn Forward| {
            let mut bits = Vec::new();
            let mut step = |position: usize, tokens| {
                let mut logits = Vec::new();
                let batch = [span(1, position as u32, tokens, Logits::Last)];
                let done = decoder.forward(&batch, &mut logits);
                bits.extend(logits.iter().map(|logit| logit.to_bits()));
                (done.is_ok(), [339, 250, 100].map(|tokens| decoder.reusable(1, tokens)))
            };
            let steps = [
                step(0, &text[..]),
                step(340, &text[3..4]),
                // Gone; then from the beginning.
                step(100, &text[8..10]),
                step(0, &text[..90]),
            ];
            let expected = [
                (true, [339, 250, 0]),
                (true, [339, 250, 0]),
                (false, [0; 3]),
                (true, [90, 90, 90]),
            ];
            assert_eq!(steps, expected, "{}", model.name);
            bits
        };
        let expected = together(&model.file, 1, work).remove(0);
        for size in [2, 7] {
            assert!(together(&model.file, size, work)[0] == expected, "{}", model.name);
        }
    }
}

#[test]
fn every_embedding_has_the_same_bits_in_several_instances() {
    for model in golden::embeddings() {
        let (first, second) = model.golden.tokens.split_at(16);
        let embed = |decoder: &mut dyn Forward| {
            let mut vectors = Vec::new();
            let batch = [span(2, 0, first, Logits::All), span(0, 0, second, Logits::Last)];
            decoder.embed(&batch, &mut vectors).expect("a good batch");
            vectors
        };
        let expected = together(&model.file, 1, embed).swap_remove(0);
        assert_eq!(expected.len() % 17, 0);
        for size in [2, 3, 5, 40] {
            // Every instance has them, rank 0 among them.
            let found = together(&model.file, size, embed);
            assert!(found.iter().all(|vectors| *vectors == expected), "{size}: {}", model.name);
        }
    }
}

#[test]
fn more_instances_than_heads_and_rows_still_compute_the_same() {
    let file = tiny_llama(&TinyLlama::default());
    let expected = together(&file, 1, conversation).remove(0);
    assert!(together(&file, 40, conversation)[0] == expected);
}

#[test]
fn chunks_beyond_one_exchange_come_in_pieces() {
    // Rows of 16 KiB: 16 of them in an exchange.
    let shape = TinyLlama { feed_forward_length: 4096, layers: 1, ..TinyLlama::default() };
    let file = tiny_llama(&shape);
    let tokens: Vec<u32> = (0..100).collect();
    let run = |decoder: &mut dyn Forward| {
        let mut logits = Vec::new();
        let batch = [span(0, 0, &tokens, Logits::All)];
        decoder.forward(&batch, &mut logits).expect("a good batch");
        logits
    };
    let expected = together(&file, 1, run).remove(0);
    assert!(together(&file, 3, run)[0] == expected);
}

/// Bytes that an instance reads, and that it holds.
fn load(file: &[u8], gguf: &Gguf, rank: usize, size: usize) -> (u64, u64) {
    let source = Counting { file, bytes: Cell::new(0) };
    let exchange = Member { meeting: Arc::new(Meeting::new(size)), rank };
    let decoder = Decoder::load_share(gguf, &source, &[], OPTIONS, Some(exchange));
    (source.bytes.get(), decoder.expect("a model").weights_bytes())
}

#[test]
fn each_instance_reads_and_holds_only_its_share() {
    let shape = TinyLlama {
        embedding_length: 256,
        feed_forward_length: 512,
        heads: 8,
        kv_heads: 8,
        ..TinyLlama::default()
    };
    let file = tiny_llama(&shape);
    let gguf = Gguf::read(&file).expect("a well-formed file");
    let load = |rank, size| load(&file, &gguf, rank, size);
    let (whole_read, whole_held) = load(0, 1);
    for size in [2, 3, 4] {
        let shares: Vec<_> = (0..size).map(|rank| load(rank, size)).collect();
        // Norms are read by all; rows by one.
        let (read, held): (Vec<_>, Vec<_>) = shares.into_iter().unzip();
        let norms = 5 * 256 * 4;
        assert_eq!(read.iter().sum::<u64>(), whole_read + (size as u64 - 1) * norms);
        let largest = whole_held / size as u64 * 5 / 4;
        assert!(held.iter().all(|held| *held < largest), "{held:?} of {whole_held}");
    }
}

#[test]
fn query_heads_are_shared_not_only_kv_heads() {
    // As SmolLM2: with whole KV heads, one of two instances would have two thirds of them.
    let shape = TinyLlama { heads: 9, kv_heads: 3, embedding_length: 288, ..Default::default() };
    let file = tiny_llama(&shape);
    let gguf = Gguf::read(&file).expect("a well-formed file");
    let held = [0, 1].map(|rank| load(&file, &gguf, rank, 2).1);
    let (small, large) = (held[0].min(held[1]), held[0].max(held[1]));
    assert!(large * 10 <= small * 11, "{held:?}");
}

#[test]
fn an_error_on_one_is_an_error_on_all_and_the_next_step_succeeds() {
    let file = tiny_llama(&TinyLlama::default());
    let results = together(&file, 3, |decoder| {
        let mut logits = Vec::new();
        let bad = decoder.forward(&[span(0, 300, &[1], Logits::Last)], &mut logits);
        let good = decoder.forward(&[span(0, 0, &[1], Logits::Last)], &mut logits);
        (bad.is_err(), good.is_ok())
    });
    assert_eq!(results, [(true, true); 3]);
}

#[test]
fn what_one_could_not_do_none_has_done() {
    let meeting = Arc::new(Meeting::new(3));
    let results: Vec<Result<usize>> = std::thread::scope(|scope| {
        let instance = |rank| {
            let member = Member { meeting: Arc::clone(&meeting), rank };
            scope.spawn(move || {
                assert_eq!(agree(&member, Ok(rank)), Ok(rank));
                let result = match rank {
                    1 => Err(Error::Io("the disk is gone".into())),
                    _ => Ok(rank),
                };
                agree(&member, result)
            })
        };
        let threads: Vec<_> = (0..3).map(instance).collect();
        threads.into_iter().map(|thread| thread.join().expect("ends")).collect()
    });
    assert_eq!(results[1], Err(Error::Io("the disk is gone".into())));
    for rank in [0, 2] {
        let text = results[rank].as_ref().expect_err("failed").to_string();
        assert!(text.contains("instance 1 failed") && text.contains("the disk is gone"), "{text}");
    }
}

#[test]
fn an_instance_that_leaves_ends_the_step_of_the_others() {
    let file = tiny_llama(&TinyLlama::default());
    let meeting = Arc::new(Meeting::new(2));
    let gguf = Gguf::read(&file).expect("a well-formed file");
    let exchange = Member { meeting: Arc::clone(&meeting), rank: 0 };
    let decoder = Decoder::load_share(&gguf, &file, &[], OPTIONS, Some(exchange));
    let mut decoder = decoder.expect("a model");
    let leaver = std::thread::spawn(move || {
        // Two exchanges long it takes part.
        meeting.all_gather(1, &[]);
        meeting.leave();
    });
    let result = decoder.forward(&[span(0, 0, &TOKENS, Logits::Last)], &mut Vec::new());
    leaver.join().expect("leaves");
    assert!(matches!(result, Err(Error::Other { code, .. }) if code == "instance"));
}
