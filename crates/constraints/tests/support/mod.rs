//! Random answers under a constraint.
#![allow(dead_code)] // Each test file uses a part.

use trefoil_constraints::{Constraint, Constraints, Token};
use trefoil_contract::{Error, ResponseFormat};
use trefoil_fixtures::{ModelFile, Random};
use trefoil_tokenizer::Tokenizer;

/// As hot as the hottest answers that a model should survive.
const TEMPERATURE: f32 = 1.5;
/// Tokens after which the walk makes for the end.
const WANDERING_TOKENS: usize = 40;
/// Most tokens of an answer; one that is longer has lost its way.
pub(crate) const TOKENS_MAX: usize = 4000;

/// A vocabulary and its constraints.
pub(crate) struct Walker {
    constraints: Constraints,
    tokens: Vec<Vec<u8>>,
    is_text: Vec<bool>,
    ends: Vec<u32>,
    /// Logits before any randomness: short tokens are likelier.
    wandering: Vec<f32>,
    /// And so is what ends texts.
    ending: Vec<f32>,
}

impl Walker {
    pub(crate) fn new(
        tokens: Vec<Vec<u8>>,
        is_special: impl Fn(u32) -> bool,
        ends: Vec<u32>,
    ) -> Self {
        let kind = |(number, bytes): (u32, &'static [u8])| match number {
            _ if ends.contains(&number) => Token::End,
            _ if is_special(number) => Token::Special(bytes),
            _ => Token::Text(bytes),
        };
        let kept: &'static [Vec<u8>] = Vec::leak(tokens.clone());
        let constraints = Constraints::new((0..).zip(kept.iter().map(Vec::as_slice)).map(kind))
            .expect("the vocabulary is usable");
        let is_text = (0..tokens.len() as u32)
            .map(|number| !is_special(number) && !ends.contains(&number))
            .collect();
        let short = |bytes: &Vec<u8>| if bytes.len() == 1 { 4.0 } else { 0.0 };
        let wandering: Vec<_> = tokens.iter().map(short).collect();
        let closes = |bytes: &[u8]| bytes.first().is_some_and(|byte| b"\"}])".contains(byte));
        let ending = (0..).zip(&tokens).zip(&wandering).map(|((number, bytes), logit)| {
            let ends = closes(bytes) || ends.contains(&number);
            if ends { logit + 60.0 - bytes.len() as f32 } else { *logit }
        });
        let ending = ending.collect();
        Walker { constraints, tokens, is_text, ends, wandering, ending }
    }

    /// Single bytes, and some of what large vocabularies have beside them.
    pub(crate) fn small() -> Self {
        let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        for text in [
            "\":",
            "\", \"",
            "{\"",
            "\"}",
            "\"]",
            "true",
            "false",
            "null",
            "abc",
            "12",
            "00",
            ".5",
            "ä",
            "\u{e4}b",
            "😀",
            "-1",
            "  ",
            "\n  ",
            "},",
            "],",
            "name",
            "ing",
            "e+",
            "@example.com",
            "\u{3000}",
            "",
            "\\",
            "\\n",
            "1998-",
            "\"a\"",
            "\"b",
            " \"",
            ": ",
        ] {
            tokens.push(text.as_bytes().to_vec());
        }
        let special = tokens.len() as u32;
        tokens.push(b"<|tool|>".to_vec());
        tokens.push(b"<|end|>".to_vec());
        Walker::new(tokens, move |token| token >= special, vec![special + 1])
    }

    /// The vocabulary of the model that a variable names.
    pub(crate) fn of_model(variable: &str) -> Self {
        let metadata = ModelFile::named_by(variable).metadata();
        let tokenizer = Tokenizer::from_gguf(&metadata).expect("the tokenizer is supported");
        let bytes = |token| tokenizer.token_bytes(token).unwrap_or_default().to_vec();
        let tokens = (0..tokenizer.vocabulary_tokens()).map(bytes).collect();
        let ends = tokenizer.end_of_generation().to_vec();
        Walker::new(tokens, |token| tokenizer.is_special(token), ends)
    }

    pub(crate) fn start(&self, format: &ResponseFormat) -> Result<Constraint, Error> {
        self.constraints.start(format)
    }

    /// A random answer, to its end.
    pub(crate) fn walk(&self, format: &ResponseFormat, seed: u64) -> Result<String, Error> {
        let mut constraint = self.start(format)?;
        let mut random = Random::new(seed);
        let mut bytes = Vec::new();
        for position in 0..TOKENS_MAX {
            // Not always: what must come before the end has to come some time.
            let makes_for_the_end = position >= WANDERING_TOKENS && random.uniform() < 0.7;
            let mut logits = if makes_for_the_end { &self.ending } else { &self.wandering }.clone();
            constraint.apply(&mut logits)?;
            let token = choose(&logits, &mut random);
            let complete = constraint.advance(token)?;
            if self.ends.contains(&token) {
                assert!(complete && constraint.is_whole());
            } else if self.is_text[token as usize] {
                bytes.extend_from_slice(&self.tokens[token as usize]);
            }
            if complete {
                return Ok(String::from_utf8(bytes).expect("answers are UTF-8"));
            }
        }
        panic!("no end to {:?}... for {format:?}", String::from_utf8_lossy(&bytes[..200]));
    }
}

impl Walker {
    /// So many tokens of a random answer, or fewer where it ends.
    pub(crate) fn follow(&self, format: &ResponseFormat, tokens: usize) -> Result<(), Error> {
        let mut constraint = self.start(format)?;
        let mut random = Random::new(1);
        for _ in 0..tokens {
            let mut logits = self.wandering.clone();
            constraint.apply(&mut logits)?;
            if constraint.advance(choose(&logits, &mut random))? {
                break;
            }
        }
        Ok(())
    }
}

/// A random token, at the temperature.
fn choose(logits: &[f32], random: &mut Random) -> u32 {
    let mut best = (f32::NEG_INFINITY, None);
    for (token, &logit) in (0..).zip(logits) {
        if logit > f32::NEG_INFINITY {
            // The largest one with such noise is drawn from the softmax (Gumbel).
            let noise = -(-random.uniform().clamp(1e-9, 0.999_999).ln()).ln();
            let score = (logit + 3.0 * random.normal()) / TEMPERATURE + noise;
            if score > best.0 {
                best = (score, Some(token));
            }
        }
    }
    best.1.expect("some token may come next")
}
