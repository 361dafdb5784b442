use std::sync::OnceLock;

use trefoil_constraints::{Constraints, Token};
use trefoil_contract::{Error, ResponseFormat};

/// Most tokens of an answer.
const TOKENS_MAX: usize = 64;

/// Texts of tokens beside single bytes.
const TEXTS: &[&str] = &["\":", "{\"", "true", "null", "12", "abc", "\", \"", "ä", "  "];

/// A schema, an expression or a grammar. It is refused with a message, or followed for a while: some
/// token may come next, or that is an error.
///
/// The input is a byte of flags, a byte that chooses tokens, and the text.
pub fn constraint(data: &[u8]) {
    let [flags, choice, text @ ..] = data else { return };
    let text = String::from_utf8_lossy(text).into_owned();
    let format = match flags % 3 {
        0 => ResponseFormat::JsonSchema(text),
        1 => ResponseFormat::Regex(text),
        _ => ResponseFormat::Grammar(text),
    };
    let mut constraint = match constraints().start(&format) {
        Ok(constraint) => constraint,
        Err(Error::InvalidArgument(text) | Error::Unsupported(text)) => {
            return assert!(!text.is_empty());
        }
        Err(error) => panic!("{error:?}"),
    };
    let mut state = u64::from(*choice) + 1;
    for _ in 0..TOKENS_MAX {
        let mut logits = vec![0.0; tokens().count()];
        match constraint.apply(&mut logits) {
            Ok(()) => {}
            Err(Error::Other { code, .. })
                if ["constraint-too-complex", "constraint-dead-end"].contains(&code.as_str()) =>
            {
                return;
            }
            Err(error) => panic!("{error:?}"),
        }
        let allowed: Vec<_> = (0..).zip(&logits).filter(|(_, logit)| **logit == 0.0).collect();
        // The generator of Numerical Recipes.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let Some(&(token, _)) = allowed.get((state >> 33) as usize % allowed.len().max(1)) else {
            panic!("no token may come next");
        };
        match constraint.advance(token) {
            Ok(false) => {}
            Ok(true) => return,
            Err(Error::Other { code, .. }) if code == "constraint-too-complex" => return,
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn constraints() -> &'static Constraints {
    static CONSTRAINTS: OnceLock<Constraints> = OnceLock::new();
    CONSTRAINTS.get_or_init(|| Constraints::new(tokens()).expect("the vocabulary is small"))
}

fn tokens() -> impl Iterator<Item = Token<'static>> {
    static BYTES: [u8; 256] = {
        let mut bytes = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            bytes[byte] = byte as u8;
            byte += 1;
        }
        bytes
    };
    let texts = TEXTS.iter().map(|text| Token::Text(text.as_bytes()));
    let special = [Token::Special(b"<|tool|>"), Token::End];
    BYTES.chunks(1).map(Token::Text).chain(texts).chain(special)
}
