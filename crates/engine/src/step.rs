//! What rank 0 has the other instances do, as bytes: 32-bit little-endian words, the first of which
//! says what it is.

use trefoil_contract::{Error, Result};
use trefoil_decoder::{CacheType, Options};
use trefoil_generation::{Logits, Span};

use crate::adapters::Choice;

/// A step that all instances make.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Load a part as the model of this number, changed by adapters.
    Open { model: u32, part: u32, options: Options, adapters: Vec<Choice> },
    /// Compute a batch.
    Forward { model: u32, batch: Batch },
    /// Compute the vectors of a batch.
    Embed { model: u32, batch: Batch },
    /// Forget tokens of a sequence.
    Truncate { model: u32, sequence: u32, tokens: u32 },
    /// Copy what is cached of a sequence to another one.
    Copy { model: u32, from: u32, to: u32 },
    /// Give rank 0 a page of what is cached of a sequence.
    SavePage { model: u32, sequence: u32, page: u64 },
    /// Make room for a sequence that is to be restored.
    Restore { model: u32, sequence: u32, first: u32, tokens: u32 },
    /// Put back a page of it.
    RestorePage { model: u32, sequence: u32, page: u64, words: Vec<u32> },
    /// Free a model.
    Close { model: u32 },
}

const OPEN: u32 = 1;
const FORWARD: u32 = 2;
const TRUNCATE: u32 = 3;
const CLOSE: u32 = 4;
const EMBED: u32 = 5;
const COPY: u32 = 6;
const SAVE_PAGE: u32 = 7;
const RESTORE: u32 = 8;
const RESTORE_PAGE: u32 = 9;

/// Spans as words: sequence, position, which logits, number of tokens, tokens.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Batch(Vec<u32>);

impl Batch {
    pub(crate) fn new(spans: &[Span<'_>]) -> Batch {
        let mut words = Vec::new();
        for span in spans {
            let logits = match span.logits {
                Logits::None => 0,
                Logits::Last => 1,
                Logits::All => 2,
            };
            words.extend([span.sequence as u32, span.position, logits, span.tokens.len() as u32]);
            words.extend(span.tokens);
        }
        Batch(words)
    }

    /// The spans again.
    ///
    /// # Errors
    /// Where the words are none.
    pub(crate) fn spans(&self) -> Result<Vec<Span<'_>>> {
        let mut spans = Vec::new();
        let mut words = self.0.as_slice();
        while let Some((&[sequence, position, logits, count], rest)) = words.split_first_chunk() {
            let logits = match logits {
                0 => Logits::None,
                1 => Logits::Last,
                2 => Logits::All,
                _ => return Err(malformed()),
            };
            let tokens = rest.get(..count as usize).ok_or_else(malformed)?;
            words = &rest[count as usize..];
            spans.push(Span { sequence: sequence as usize, position, tokens, logits });
        }
        if words.is_empty() { Ok(spans) } else { Err(malformed()) }
    }
}

impl Step {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let of_adapters;
        let (head, rest): (&[u32], &[u32]) = match self {
            Step::Open { model, part, options, adapters } => {
                let words = |choice: &Choice| [choice.part, choice.scale.to_bits()];
                of_adapters = adapters.iter().flat_map(words).collect::<Vec<_>>();
                let Options { context_tokens, sequences_max, kv_cache_type } = *options;
                let kv_cache_type = match kv_cache_type {
                    CacheType::F32 => 32,
                    CacheType::F16 => 16,
                    CacheType::Q8 => 8,
                };
                (
                    &[
                        OPEN,
                        *model,
                        *part,
                        context_tokens,
                        sequences_max,
                        kv_cache_type,
                        adapters.len() as u32,
                    ],
                    &of_adapters,
                )
            }
            Step::Forward { model, batch } => (&[FORWARD, *model], &batch.0),
            Step::Embed { model, batch } => (&[EMBED, *model], &batch.0),
            Step::Truncate { model, sequence, tokens } => {
                (&[TRUNCATE, *model, *sequence, *tokens], &[])
            }
            Step::Copy { model, from, to } => (&[COPY, *model, *from, *to], &[]),
            Step::SavePage { model, sequence, page } => {
                (&[SAVE_PAGE, *model, *sequence, *page as u32, (*page >> 32) as u32], &[])
            }
            Step::Restore { model, sequence, first, tokens } => {
                (&[RESTORE, *model, *sequence, *first, *tokens], &[])
            }
            Step::RestorePage { model, sequence, page, words } => {
                (&[RESTORE_PAGE, *model, *sequence, *page as u32, (*page >> 32) as u32], words)
            }
            Step::Close { model } => (&[CLOSE, *model], &[]),
        };
        head.iter().chain(rest).flat_map(|word| word.to_le_bytes()).collect()
    }

    /// # Errors
    /// For bytes that no step has.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Step> {
        let (words, []) = bytes.as_chunks() else { return Err(malformed()) };
        let words: Vec<_> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
        Ok(match *words.as_slice() {
            [
                OPEN,
                model,
                part,
                context_tokens,
                sequences_max,
                kv_cache_type,
                count,
                ref rest @ ..,
            ] => {
                let (adapters, []) = rest.as_chunks() else { return Err(malformed()) };
                if adapters.len() != count as usize {
                    return Err(malformed());
                }
                let choice =
                    |&[part, bits]: &[u32; 2]| Choice { part, scale: f32::from_bits(bits) };
                let adapters = adapters.iter().map(choice).collect();
                let kv_cache_type = match kv_cache_type {
                    32 => CacheType::F32,
                    16 => CacheType::F16,
                    8 => CacheType::Q8,
                    _ => return Err(malformed()),
                };
                let options = Options { context_tokens, sequences_max, kv_cache_type };
                Step::Open { model, part, options, adapters }
            }
            [FORWARD, model, ref batch @ ..] => {
                Step::Forward { model, batch: Batch(batch.to_vec()) }
            }
            [EMBED, model, ref batch @ ..] => Step::Embed { model, batch: Batch(batch.to_vec()) },
            [TRUNCATE, model, sequence, tokens] => Step::Truncate { model, sequence, tokens },
            [COPY, model, from, to] => Step::Copy { model, from, to },
            [SAVE_PAGE, model, sequence, low, high] => {
                Step::SavePage { model, sequence, page: u64::from(high) << 32 | u64::from(low) }
            }
            [RESTORE, model, sequence, first, tokens] => {
                Step::Restore { model, sequence, first, tokens }
            }
            [RESTORE_PAGE, model, sequence, low, high, ref words @ ..] => {
                let page = u64::from(high) << 32 | u64::from(low);
                Step::RestorePage { model, sequence, page, words: words.to_vec() }
            }
            [CLOSE, model] => Step::Close { model },
            _ => return Err(malformed()),
        })
    }
}

/// Bytes of a page as words, of which they are always some.
pub(crate) fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

fn malformed() -> Error {
    Error::Other {
        code: "instance".into(),
        message: "rank 0 has sent what is no step; all instances must run the same engine".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Vec<Step> {
        let kv_cache_type = CacheType::F16;
        let options = Options { context_tokens: 3, sequences_max: 4, kv_cache_type };
        let spans = [
            Span { sequence: 3, position: 7, tokens: &[1, 2, 3], logits: Logits::All },
            Span { sequence: 0, position: 0, tokens: &[], logits: Logits::None },
            Span { sequence: 1, position: 9, tokens: &[4], logits: Logits::Last },
        ];
        vec![
            Step::Open { model: 1, part: 2, options, adapters: Vec::new() },
            Step::Forward { model: 5, batch: Batch::new(&spans) },
            Step::Forward { model: 5, batch: Batch::new(&[]) },
            Step::Embed { model: 5, batch: Batch::new(&spans) },
            Step::Truncate { model: 6, sequence: 7, tokens: 8 },
            Step::Copy { model: 6, from: 7, to: 0 },
            Step::SavePage { model: 6, sequence: 7, page: u64::MAX - 1 },
            Step::Restore { model: 6, sequence: 7, first: 8, tokens: 9 },
            Step::RestorePage { model: 6, sequence: 7, page: 1 << 40, words: vec![3, 4] },
            Step::Close { model: 9 },
            Step::Open {
                model: 1,
                part: 2,
                options,
                adapters: vec![Choice { part: 3, scale: -0.5 }],
            },
        ]
    }

    #[test]
    fn steps_come_back_as_they_were() {
        for step in steps() {
            assert_eq!(Step::decode(&step.encode()), Ok(step));
        }
        let steps = steps();
        let Step::Forward { batch, .. } = &steps[1] else { panic!("{steps:?}") };
        let spans = batch.spans().expect("are spans");
        assert_eq!(spans.len(), 3);
        assert_eq!((spans[0].sequence, spans[0].position, spans[0].tokens), (3, 7, &[1, 2, 3][..]));
        assert_eq!(spans[2].logits, Logits::Last);
    }

    #[test]
    fn shortened_and_changed_steps_are_refused_or_others() {
        for step in steps() {
            let bytes = step.encode();
            for end in 0..bytes.len() {
                let decoded = Step::decode(&bytes[..end]);
                if let Ok(Step::Forward { batch, .. } | Step::Embed { batch, .. }) = decoded {
                    // Cut between two spans it is a shorter batch, elsewhere none.
                    let _ = batch.spans();
                } else if let Ok(Step::RestorePage { words, .. }) = decoded {
                    // Of another length than pages have, which the decoder refuses.
                    assert!(words.len() < 2);
                } else {
                    assert!(Step::decode(&bytes[..end]).is_err(), "{end} bytes of {step:?}");
                }
            }
            for word in 0..bytes.len() / 4 {
                let mut bytes = bytes.clone();
                bytes[4 * word..][..4].fill(0xff);
                if let Ok(Step::Forward { batch, .. }) = Step::decode(&bytes) {
                    let _ = batch.spans();
                }
            }
        }
        let cut = Batch(vec![0, 0, 1, 2, 65]);
        assert!(cut.spans().is_err());
        assert!(Batch(vec![0, 0, 3, 0]).spans().is_err());
    }
}
