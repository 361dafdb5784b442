use std::fmt;
use std::sync::Arc;

use llguidance::ParserFactory;
use llguidance::api::ParserLimits;
use llguidance::toktrie::InferenceCapabilities;
use trefoil_contract::{Error, ResponseFormat, Result};

use crate::constraint::Constraint;
use crate::grammar;
use crate::vocabulary::{Token, Vocabulary};

/// Longest schema, expression or grammar, in bytes.
pub const TEXT_BYTES_MAX: usize = 256 << 10;

/// What one constraint may cost.
fn limits() -> ParserLimits {
    ParserLimits {
        // Ways in which the text so far can be understood.
        max_items_in_row: 2000,
        // Nodes of regular expressions, when they are read: some 20 ms.
        initial_lexer_fuel: 1_000_000,
        // The same, for one token: some 15 ms.
        step_lexer_fuel: 200_000,
        // Items of the parser, for one token: some 3 ms.
        step_max_items: 50_000,
        // At 2 KiB each, 64 MiB.
        max_lexer_states: 32_768,
        // Symbols of the grammar.
        max_grammar_size: 200_000,
        // Would walk the whole vocabulary before the first token.
        precompute_large_lexemes: false,
        // The state in messages is for those who debug the library.
        verbose_errors: false,
    }
}

/// What most tokens are inside JSON strings: whether all of them may come next is found out at once.
/// Each further one would make masks a little cheaper, and costs as much memory and time as the
/// vocabulary itself (Gemma's: 20 MB).
const SLICE: &str = r#"[^"\\\x00-\x1F\x7F]{1,30}"#;

/// What a model's vocabulary decides, for all constraints.
pub struct Constraints {
    factory: ParserFactory,
    ends: Vec<u32>,
}

impl Constraints {
    /// Takes the tokens of a vocabulary, in their order.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a vocabulary that is too large.
    pub fn new<'a>(tokens: impl Iterator<Item = Token<'a>>) -> Result<Self> {
        let Vocabulary { trie, ends } = Vocabulary::new(tokens)?;
        let (environment, slices) = (Arc::new(trie) as _, [SLICE.to_owned()]);
        let mut factory =
            ParserFactory::new(&environment, InferenceCapabilities::default(), &slices).map_err(
                |error| Error::Other {
                    code: "constraint-fault".into(),
                    message: format!("the vocabulary cannot be constrained: {error}"),
                },
            )?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(Constraints { factory, ends })
    }

    /// Begins to follow an answer of that format.
    ///
    /// # Errors
    /// - [`Error::InvalidArgument`]: a schema, an expression or a grammar that is broken, that no
    ///   text can satisfy, or that is too large; the message names the place.
    /// - [`Error::Unsupported`]: one that asks for what cannot be promised, by name and place.
    pub fn start(&self, format: &ResponseFormat) -> Result<Constraint> {
        let compile = |grammar| self.factory.create_parser(grammar);
        let parser = match format {
            ResponseFormat::Text => grammar::regex("(?s:.*)", compile),
            ResponseFormat::JsonSchema(text) => grammar::json_schema(text, compile),
            ResponseFormat::Regex(text) => grammar::regex(text, compile),
            ResponseFormat::Grammar(text) => grammar::grammar(text, compile),
        }?;
        Ok(Constraint::new(parser, self.ends.clone()))
    }
}

impl fmt::Debug for Constraints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraints").field("ends", &self.ends).finish_non_exhaustive()
    }
}
