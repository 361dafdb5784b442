//! Sequences that are saved and restored, by any number of instances.
#![allow(clippy::expect_used)]

mod member;

use std::sync::Arc;

use member::Member;
use trefoil_contract::Error;
use trefoil_decoder::{CacheType, Decoder, Options};
use trefoil_fixtures::{Meeting, TinyLlama, golden, tiny_llama};
use trefoil_generation::{Forward, Logits, SavedCache, Span};
use trefoil_gguf::Gguf;

/// Does the same in each of `size` instances. Answers what rank 0 gave.
fn together<T: Send>(
    file: &[u8],
    size: usize,
    kv_cache_type: CacheType,
    work: impl Fn(&mut dyn Forward) -> T + Sync,
) -> T {
    let meeting = Arc::new(Meeting::new(size));
    let options = Options { context_tokens: 0, sequences_max: 2, kv_cache_type };
    std::thread::scope(|scope| {
        let instance = |rank| {
            let (meeting, work) = (Arc::clone(&meeting), &work);
            scope.spawn(move || {
                let gguf = Gguf::read(&file).expect("a well-formed file");
                let exchange = Member { meeting, rank };
                let decoder = Decoder::load_share(&gguf, &file, &[], options, Some(exchange));
                work(&mut decoder.expect("a model"))
            })
        };
        let threads: Vec<_> = (0..size).map(instance).collect();
        let mut results = threads.into_iter().map(|thread| thread.join().expect("ends"));
        results.next().expect("rank 0")
    })
}

fn text(tokens: usize) -> Vec<u32> {
    (0..tokens).map(|place| 2 + (place * place * 7 + place * 3) as u32 % 250).collect()
}

/// The bits of the logits behind tokens at a position.
fn go_on(decoder: &mut dyn Forward, sequence: usize, position: usize, tokens: &[u32]) -> Vec<u32> {
    let span = Span { sequence, position: position as u32, tokens, logits: Logits::All };
    let mut logits = Vec::new();
    decoder.forward(&[span], &mut logits).expect("a good batch");
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// All pages of a sequence.
fn save(decoder: &mut dyn Forward, sequence: usize) -> (SavedCache, Vec<Vec<u8>>) {
    let saved = decoder.saved(sequence).expect("a sequence");
    let page = |page| {
        let mut bytes = vec![1, 2, 3];
        decoder.save_page(sequence, page, &mut bytes).expect("a page");
        bytes
    };
    let pages = (0..saved.pages).map(page).collect();
    (saved, pages)
}

fn restore(
    decoder: &mut dyn Forward,
    sequence: usize,
    (saved, pages): &(SavedCache, Vec<Vec<u8>>),
) {
    decoder.restore(sequence, saved).expect("memory");
    for (page, bytes) in (0..).zip(pages) {
        decoder.restore_page(sequence, page, bytes).expect("a page");
    }
}

#[test]
fn a_sequence_goes_on_in_any_number_of_instances_as_in_the_one_it_began_in() {
    let mut files: Vec<_> = [(4, 2, 64), (9, 3, 288), (1, 1, 32)]
        .map(|(heads, kv_heads, embedding_length)| {
            tiny_llama(&TinyLlama { heads, kv_heads, embedding_length, ..TinyLlama::default() })
        })
        .into();
    let windows = golden::architectures().into_iter().filter(|it| it.name.ends_with("-window"));
    files.extend(windows.map(|model| model.file));
    for file in &files {
        for kv_cache_type in CacheType::ALL {
            let text = text(220);
            let whole = |decoder: &mut dyn Forward| {
                go_on(decoder, 1, 0, &text[..200]);
                let saved = save(decoder, 1);
                assert_eq!(saved.0.tokens, 200);
                (saved, go_on(decoder, 1, 200, &text[200..]))
            };
            let (saved, expected) = together(file, 1, kv_cache_type, whole);
            for size in [1, 2, 3, 5] {
                // What several instances save is what one saves.
                assert!(
                    together(file, size, kv_cache_type, whole) == (saved.clone(), expected.clone())
                );
                let restored = together(file, size, kv_cache_type, |decoder| {
                    // Something else was there.
                    go_on(decoder, 0, 0, &text[100..150]);
                    restore(decoder, 0, &saved);
                    go_on(decoder, 0, 200, &text[200..])
                });
                assert!(restored == expected, "{size} instances");
            }
        }
    }
}

#[test]
fn what_no_sequence_of_the_model_is_is_refused_and_leaves_the_sequence_empty() {
    let file = tiny_llama(&TinyLlama::default());
    let window = ("llama.attention.sliding_window".to_owned(), 10u32.into());
    let windowed = tiny_llama(&TinyLlama { values: vec![window], ..TinyLlama::default() });
    together(&file, 1, CacheType::F16, |decoder| {
        go_on(decoder, 0, 0, &text(100));
        let (saved, _) = save(decoder, 0);
        let mut refused = |change: &dyn Fn(&mut SavedCache)| {
            go_on(decoder, 1, 0, &text(10));
            let mut other = saved.clone();
            change(&mut other);
            let error = decoder.restore(1, &other).expect_err("refused");
            assert_eq!(decoder.reusable(1, 10), 0);
            error
        };
        let error = refused(&|saved| saved.tokens = 257);
        assert_eq!(error, Error::ContextOverflow { needed_tokens: 257, available_tokens: 256 });
        let text = refused(&|saved| saved.form = "q8 (layout 1)".into()).to_string();
        assert!(text.contains("`q8 (layout 1)`") && text.contains("cpu.kv-cache-type"), "{text}");
        let changes: [&dyn Fn(&mut SavedCache); 6] = [
            &|saved| saved.first = 64,
            &|saved| saved.first = 1,
            &|saved| saved.tokens = 10,
            &|saved| saved.pages += 1,
            &|saved| saved.pages = u64::MAX,
            &|saved| saved.page_bytes = 0,
        ];
        for change in changes {
            assert!(matches!(refused(change), Error::InvalidArgument(_)));
        }
        let mut page = Vec::new();
        for number in [saved.pages, u64::MAX] {
            assert!(matches!(
                decoder.save_page(0, number, &mut page),
                Err(Error::InvalidArgument(_))
            ));
            assert!(decoder.restore_page(0, number, &page).is_err());
        }
        decoder.save_page(0, 0, &mut page).expect("a page");
        assert!(decoder.restore_page(0, 0, &page[1..]).is_err());
        assert!(decoder.restore(2, &saved).is_err());
        assert_eq!(decoder.saved(2).map(|saved| saved.pages), Ok(0));
    });
    together(&windowed, 1, CacheType::F16, |decoder| {
        go_on(decoder, 0, 0, &text(220));
        let (saved, _) = save(decoder, 0);
        assert_eq!(saved.first, 64);
        for first in [128, 192, 256, 65] {
            // So far back that the window reaches it, or not.
            let pages = saved.pages - u64::from(first / 64 - 1) * 4;
            let other = SavedCache { first, pages, ..saved.clone() };
            assert_eq!(decoder.restore(1, &other).is_ok(), first < 200 && first != 65, "{first}");
        }
    });
}

#[test]
fn an_encoder_has_nothing_to_save() {
    let model = golden::embeddings()
        .into_iter()
        .find(|model| model.name == "bert-mean")
        .expect("an encoder");
    let refused = together(&model.file, 1, CacheType::F16, |decoder| {
        let saved =
            SavedCache { form: String::new(), tokens: 0, first: 0, pages: 0, page_bytes: 0 };
        [decoder.saved(0).map(drop), decoder.restore(0, &saved)]
    });
    assert!(refused.iter().all(|it| matches!(it, Err(Error::Unsupported(_)))), "{refused:?}");
}
