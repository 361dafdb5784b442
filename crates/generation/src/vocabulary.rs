use std::rc::Rc;
use std::sync::Arc;

use trefoil_constraints::Token;
use trefoil_tokenizer::Tokenizer;

/// What the generation loop needs to know about tokens. A [`Tokenizer`] is one.
pub trait Vocabulary {
    /// Bytes of a token as they appear in text; `None` beyond the vocabulary.
    fn token_bytes(&self, token: u32) -> Option<&[u8]>;

    /// Whether text output leaves the token out.
    fn is_special(&self, token: u32) -> bool;

    /// Whether the token ends a generation.
    fn ends_generation(&self, token: u32) -> bool;
}

impl Vocabulary for Tokenizer {
    fn token_bytes(&self, token: u32) -> Option<&[u8]> {
        Tokenizer::token_bytes(self, token)
    }

    fn is_special(&self, token: u32) -> bool {
        Tokenizer::is_special(self, token)
    }

    fn ends_generation(&self, token: u32) -> bool {
        self.end_of_generation().binary_search(&token).is_ok()
    }
}

/// What a token is to a constraint.
pub(crate) fn constrained(vocabulary: &impl Vocabulary, token: u32) -> Token<'_> {
    let bytes = vocabulary.token_bytes(token).unwrap_or_default();
    if vocabulary.ends_generation(token) {
        Token::End
    } else if vocabulary.is_special(token) {
        Token::Special(bytes)
    } else {
        Token::Text(bytes)
    }
}

macro_rules! forward_to_target {
    ($($pointer:ty),*) => {$(
        impl<V: Vocabulary + ?Sized> Vocabulary for $pointer {
            fn token_bytes(&self, token: u32) -> Option<&[u8]> {
                (**self).token_bytes(token)
            }

            fn is_special(&self, token: u32) -> bool {
                (**self).is_special(token)
            }

            fn ends_generation(&self, token: u32) -> bool {
                (**self).ends_generation(token)
            }
        }
    )*};
}

forward_to_target!(Rc<V>, Arc<V>, Box<V>, &V);
